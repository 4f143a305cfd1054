"""A full disk is called one: Polars calls it a fault of the format, of the computation, or gives it no number."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
"""No space left on the device; quota exceeded."""
_REFUSED = "transport error"
"""All that the writer of Parquet's headers says of a disk that took them not."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within it, Polars writes to ``path``.

    Raises
    ------
    OSError
        When the disk is full, or takes no more for a reason that is not told.
    """
    import polars as pl

    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        said = str(error)
        number = next((n for n in FULL if os.strerror(n) in said), errno.EIO if _REFUSED in said else None)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error
