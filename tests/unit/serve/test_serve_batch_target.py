"""Writing what was scored where there is no room."""

from __future__ import annotations

import errno
from pathlib import Path

import polars as pl
import pytest

from charter.serve.io.batch_target import WRITERS, Piece

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_a_full_disk_is_called_one(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    piece = Piece(tmp_path / "piece.arrow")
    pl.DataFrame({"score": [0.5] * 1000}).write_ipc(piece.path)
    target = FULL
    if kind == "folder":
        target = tmp_path / "parts"
        target.mkdir()
        (target / "part-00000.parquet").symlink_to(FULL)
        monkeypatch.setattr(Path, "mkdir", lambda _: None)
    with pytest.raises(OSError, match="No space left") as caught:
        WRITERS[kind]([piece], target)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename is not None
