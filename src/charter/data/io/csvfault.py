"""Where a text file stops being CSV. Asked only when reading has failed: the reader itself does not tell the line."""

from __future__ import annotations

import csv
import io


def csv_fault(content: bytes) -> str | None:
    r"""Name the first line that is not UTF-8 or does not fit the header; None when all do.

    Examples
    --------
    >>> csv_fault(b"id,name\\n1,a\\n2,b,c\\n")
    'line 3 has 3 fields, and the header has 2'
    >>> csv_fault(b"id,name\\n1,\\xf6\\n")
    'line 2 is not UTF-8 (byte 0xf6)'
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return f"line {line} is not UTF-8 (byte {content[error.start]:#04x})"
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    begins = 1
    try:
        head = next(rows, [])
        for fields in rows:
            begins = rows.line_num + 1
            if len(fields) > len(head):
                return f"line {rows.line_num} has {len(fields)} fields, and the header has {len(head)}"
    except csv.Error as error:
        quote = "a quote is not closed" if "unexpected end" in str(error) else str(error)
        return f"the row that begins in line {begins}: {quote}"
    return None
