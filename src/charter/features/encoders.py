"""One feature to columns of the design matrix; every encoder is fitted on training rows and is plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import repeat
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from charter.core.errors import DataError, UsageError
from charter.features.featureset import Feature

Floats = NDArray[np.float64]
EncoderKind = Literal["numeric", "one_hot", "ordinal", "target", "hashing"]

ONE_HOT_UP_TO = 32
"""Categories with more values are target-encoded unless the specification says otherwise."""
BUCKETS = 32
LARGEST = float(np.finfo(np.float32).max)
"""What stands for a number beyond float32; it keeps squares within float64 too."""
SMOOTHING_ROWS = 20.0
"""A category's mean label is drawn to the overall mean as if by so many rows."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """How one feature becomes columns.

    Attributes
    ----------
    names
        Columns of the matrix, in order.
    values
        Known categories. A value's code is its place; ``len(values)`` is an unknown value, ``len(values) + 1``
        a missing one.
    table
        ``target`` only: per code the encoded row.
    fill
        Replaces a missing number (and, as a code's order, an ordinal without place); None leaves it missing.
    shift, scale
        A number x becomes ``(x - shift) / scale``.
    """

    feature: str
    kind: EncoderKind
    names: tuple[str, ...]
    values: tuple[str, ...] = ()
    table: tuple[tuple[float, ...], ...] = ()
    fill: float | None = None
    shift: float = 0.0
    scale: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """Plain data; floats survive JSON text exactly, since Python writes them so that they read back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Encoder:
        """Inverse of `to_json`."""
        table = tuple(tuple(float(x) for x in row) for row in data["table"])
        return cls(**{**data, "names": tuple(data["names"]), "values": tuple(data["values"]), "table": table})

    def codes(self, values: pl.Series) -> NDArray[np.intp]:
        """Code of each value [n]; not for numbers and hashing."""
        texts = (values if type(values.dtype) is pl.String else values.cast(pl.String)).to_list()
        return np.fromiter(
            map(_places(self.values).get, texts, repeat(len(self.values))), np.intp, len(texts)
        )

    def lookup(self) -> NDArray[np.float32]:
        """Rows of the matrix by code, float32 [codes, columns]; not for numbers."""
        k = len(self.values)
        if self.kind == "hashing":
            # The last row, of a missing value, is empty.
            return np.eye(len(self.names) + 1, len(self.names), dtype=np.float32)
        if self.kind == "one_hot":
            table = np.zeros((k + 2, len(self.names)), np.float32)
            table[range(k), range(k)] = 1
            table[k + 1, k:] = 1
            return table
        if self.kind == "ordinal":
            nowhere = np.nan if self.fill is None else self.fill
            return np.array([*range(k), nowhere, nowhere], np.float32)[:, None]
        return np.array(self.table, np.float32)


def hash_codes(values: pl.Series, buckets: int) -> NDArray[np.intp]:
    """Bucket of each value, the same on every machine; ``buckets`` for a missing one."""
    texts = values.cast(pl.String).to_list()
    return np.array([buckets if text is None else _bucket(text, buckets) for text in texts], np.intp)


@lru_cache(maxsize=65_536)
def _bucket(text: str, buckets: int) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") % buckets


@lru_cache(maxsize=1024)
def _places(values: tuple[str, ...]) -> dict[str | None, int]:
    return {**{value: at for at, value in enumerate(values)}, None: len(values) + 1}


def fit_numeric(values: pl.Series, *, scale: bool, impute: bool) -> Encoder:
    """Fit a number: median of the present values to fill with, mean and standard deviation to scale by."""
    if not (values.dtype.is_numeric() or values.dtype == pl.Boolean):
        raise UsageError(
            f"feature {values.name!r} is {values.dtype} and cannot be encoded as a number",
            remedy="Use one_hot, ordinal, target or hashing in features.encode.",
        )
    numbers = values.cast(pl.Float64).to_numpy()
    present = np.clip(numbers[~np.isnan(numbers)], -LARGEST, LARGEST)
    fill = (float(np.median(present)) if len(present) else 0.0) if impute else None
    shift, spread = 0.0, 1.0
    if scale and len(present):
        filled = (
            np.append(present, np.full(len(values) - len(present), fill)) if fill is not None else present
        )
        shift, spread = float(filled.mean()), float(filled.std())
        if not (np.isfinite(spread) and spread > 0):
            spread = 1.0
    return Encoder(values.name, "numeric", (values.name,), fill=fill, shift=shift, scale=spread)


def fit_one_hot(values: pl.Series, feature: Feature) -> Encoder:
    """Fit indicators: one per declared or, without declaration, seen value, and one for missing if seen."""
    known = known_values(values, feature)
    names = [f"{feature.name}={value}" for value in known]
    if values.null_count():
        names.append(f"{feature.name} is missing")
    return Encoder(feature.name, "one_hot", tuple(names), known)


def fit_ordinal(values: pl.Series, feature: Feature, *, impute: bool) -> Encoder:
    """Fit places in the declared order or, without declaration, the sorted order of the values seen."""
    known = known_values(values, feature)
    encoder = Encoder(feature.name, "ordinal", (feature.name,), known)
    if not impute:
        return encoder
    codes = encoder.codes(values)
    placed = codes[codes < len(known)]
    fill = float(np.median(placed)) if len(placed) else 0.0
    return Encoder(feature.name, "ordinal", (feature.name,), known, fill=fill)


def fit_hashing(feature: Feature, buckets: int = BUCKETS) -> Encoder:
    """Hashing has nothing to fit."""
    return Encoder(feature.name, "hashing", tuple(f"{feature.name}#{b}" for b in range(buckets)))


def fit_target(values: pl.Series, feature: Feature, targets: Floats, suffixes: Sequence[str]) -> Encoder:
    """Fit a category's mean label, drawn to the overall mean.

    ``(sum of labels + m * overall mean) / (rows + m)`` with m = `SMOOTHING_ROWS` (Micci-Barreca, 2001). An
    unknown value gets the overall mean, a missing one is a category of its own.

    Parameters
    ----------
    targets
        float64 [n, t]: the label, or one indicator per class.
    suffixes
        Names of the t columns after the feature's name; empty texts for a single one.
    """
    known = known_values(values, feature, declared=False)
    names = tuple(f"{feature.name}{suffix}" for suffix in suffixes)
    at = Encoder(feature.name, "target", names, known).codes(values)
    prior = targets.mean(axis=0)
    rows = np.bincount(at, minlength=len(known) + 2)[:, None]
    sums = np.stack([np.bincount(at, column, minlength=len(known) + 2) for column in targets.T], axis=1)
    table = (sums + SMOOTHING_ROWS * prior) / (rows + SMOOTHING_ROWS)
    return Encoder(feature.name, "target", names, known, tuple(tuple(map(float, row)) for row in table))


def known_values(values: pl.Series, feature: Feature, *, declared: bool = True) -> tuple[str, ...]:
    """Values of a category: the declared ones that training has, in their order; otherwise those seen, sorted."""
    seen = set(values.cast(pl.String).drop_nulls().unique().to_list())
    if declared and feature.values is not None:
        return (*(v for v in feature.values if v in seen), *sorted(seen - set(feature.values)))
    return tuple(sorted(seen))


def require_columns(frame: pl.DataFrame, names: Sequence[str]) -> None:
    """Refuse a frame that lacks features, naming the first."""
    present = set(frame.columns)
    missing = [name for name in names if name not in present]
    if missing:
        raise DataError(
            f"feature {missing[0]!r} is missing" + (f", and {len(missing) - 1} more" if missing[1:] else ""),
            remedy="Complete the observations with their features first.",
        )
