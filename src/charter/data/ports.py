"""Where rows come from, as a port: one object per kind of address, registered in ``charter.sources``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from charter.spec.types import SourceSpec

if TYPE_CHECKING:
    import polars as pl


class Source(Protocol):
    """Reads the addresses of one scheme, for example ``kafka://``; the entry point's name is the scheme."""

    def fingerprint(self, source: SourceSpec) -> str:
        """Return a text that changes whenever the rows do; must be quick and import nothing heavy."""
        ...

    def read(self, source: SourceSpec, columns: Sequence[str] | None) -> pl.DataFrame:
        """Read the rows in a stable order: at least ``columns``, all when None."""
        ...
