"""Reading a CSV file takes as much memory as one piece of it, however large the file and however odd."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from charter.core.errors import DataError
from charter.serve.io import batch_source
from charter.serve.io.batch_source import Source

MEGABYTE = 1 << 20
READ = """
import resource, sys
from pathlib import Path
from charter.data.io.filedigest import file_digest
from charter.serve.io.batch_source import Source
path = Path(sys.argv[1])
source = Source("csv", (path,))
source.schema()
file_digest(path, path.parent)
chunks, _ = source.plan(65_536)
rows = sum(source.read(chunk, ["id", "text"]).height for chunk in chunks)
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def table(path: Path, megabytes: int) -> int:
    """A file of lines of 64 bytes, each with a line break within quotes."""
    line = b'%011d,"' + b"x" * 20 + b"\n" + b"y" * 27 + b'"\r\n'
    block = b"".join(line % n for n in range(16_384))
    assert len(block) == MEGABYTE
    with path.open("wb") as file:
        file.write(b"id,text\r\n")
        for _ in range(megabytes):
            file.write(block)
    return 16_384 * megabytes


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = []
    for megabytes in (24, 240):
        path = tmp_path / f"{megabytes}.csv"
        expected = table(path, megabytes)
        ran = subprocess.run(
            [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True
        )
        rows, peak = map(int, ran.stdout.split())
        assert rows == expected
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 64 * MEGABYTE, [f"{p / MEGABYTE:.0f} MB" for p in peaks]


@pytest.mark.parametrize("head", [b'id,"text\r\n', b"id,text\r\n" + b"1,a\r\n" * 100 + b'2,"open\r\n'])
def test_a_quote_that_nobody_closes_is_named_instead_of_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    monkeypatch.setattr(batch_source, "_LONGEST_BYTES", MEGABYTE)
    monkeypatch.setattr(batch_source, "_BLOCK_BYTES", MEGABYTE)
    path = tmp_path / "a.csv"
    path.write_bytes(head + b"3,b\r\n" * MEGABYTE)
    with pytest.raises(DataError, match=r"does not end within 1 MB(.|\n)*may not be closed"):
        Source("csv", (path,)).schema() and Source("csv", (path,)).plan(1000)
