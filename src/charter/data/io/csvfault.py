"""Where a text file stops being CSV. Asked only when reading has failed: the reader itself does not tell the line."""

from __future__ import annotations

import csv
import io
from typing import BinaryIO


def csv_fault(file: BinaryIO) -> str | None:
    r"""Name the first line that is not UTF-8 or does not fit the header; None when all do.

    Parameters
    ----------
    file
        At its beginning; read a line at a time.

    Examples
    --------
    >>> csv_fault(io.BytesIO(b"id,name\\n1,a\\n2,b,c\\n"))
    'line 3 has 3 fields, and the header has 2'
    >>> csv_fault(io.BytesIO(b"id,name\\n1,\\xf6\\n"))
    'line 2 is not UTF-8 (byte 0xf6)'
    """
    for number, line in enumerate(file, 1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            return f"line {number} is not UTF-8 (byte {line[error.start]:#04x})"
    file.seek(0)
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    rows, begins = csv.reader(text, strict=True), 1
    try:
        head = next(rows, [])
        for fields in rows:
            begins = rows.line_num + 1
            if len(fields) > len(head):
                return f"line {rows.line_num} has {len(fields)} fields, and the header has {len(head)}"
    except csv.Error as error:
        quote = "a quote is not closed" if "unexpected end" in str(error) else str(error)
        return f"the row that begins in line {begins}: {quote}"
    finally:
        text.detach()  # the file is the caller's to close
    return None
