"""From features to the design matrix: encoded, filled, scaled, selected; fitted on training rows only.

A fitted `Preprocessor` is plain data. It treats every row by itself, so that a row gives the same float32 bits
alone, in a batch and in the training frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from charter.core.errors import DataError, UsageError
from charter.features import selection
from charter.features.documents import read_document
from charter.features.encoders import (
    LARGEST,
    ONE_HOT_UP_TO,
    Encoder,
    Floats,
    fit_hashing,
    fit_numeric,
    fit_one_hot,
    fit_ordinal,
    fit_target,
    hash_codes,
    require_columns,
)
from charter.features.featureset import Feature, FeatureSet
from charter.spec.types import FeatureSpec

Matrix = NDArray[np.float32]
SCHEMA_VERSION = 1
_PLAIN = (pl.Float64, pl.Int64)
"""What NumPy reads as numbers; comparing the types themselves would take longer than reading."""
_PLAIN_VALUES = {float, int, bool, type(None)}
"""The same of values one by one."""
_SINGLE_ROWS = 8
"""So few rows are read sooner one by one than column by column."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What `Preprocessor.transform` does, prepared once."""

    width: int
    """Columns of the matrix."""
    names: list[str]
    """Features that are numbers."""
    numbers: tuple[int, ...]
    """Their columns of the matrix."""
    fill: Floats | None
    shift: Floats
    scale: Floats
    scaled: bool
    """Whether any number is shifted or scaled."""
    tables: tuple[tuple[int, int, Matrix, Encoder], ...]
    """First and last (exclusive) column of the matrix, rows by code, and the encoder."""


@dataclass(frozen=True, slots=True)
class Preprocessor:
    """A fitted preprocessing.

    Attributes
    ----------
    encoders
        One per feature that the model sees, in the order of the matrix.
    dropped
        Features left out by selection, each with the reason in words, as pairs.
    """

    encoders: tuple[Encoder, ...]
    dropped: tuple[tuple[str, str], ...] = ()
    _plan: _Plan = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_plan", _plan(self.encoders))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the matrix's columns."""
        return tuple(name for encoder in self.encoders for name in encoder.names)

    @property
    def features(self) -> tuple[str, ...]:
        """Features that the matrix is made of."""
        return tuple(encoder.feature for encoder in self.encoders)

    @property
    def source_of(self) -> dict[str, str]:
        """Matrix column to the feature that it came from."""
        return {name: encoder.feature for encoder in self.encoders for name in encoder.names}

    def transform(self, frame: pl.DataFrame) -> Matrix:
        """Build the design matrix.

        Parameters
        ----------
        frame
            The `features` among its columns; n rows.

        Returns
        -------
        float32 [n, d], C-contiguous. NaN is missing; a number beyond float32 becomes its largest.

        Raises
        ------
        DataError
            When a feature is missing or is no number where one was fitted.
        """
        plan = self._plan
        matrix = np.empty((frame.height, plan.width), np.float32)
        try:
            if plan.numbers:
                matrix[:, plan.numbers] = _numbers(_values(frame, plan.names), plan)
            for first, last, table, encoder in plan.tables:
                column = frame.get_column(encoder.feature)
                hashing = encoder.kind == "hashing"
                codes = hash_codes(column, len(encoder.names)) if hashing else encoder.codes(column)
                matrix[:, first:last] = table[codes]
        except (pl.exceptions.PolarsError, KeyError) as error:
            require_columns(frame, self.features)
            raise DataError(f"features cannot be encoded: {str(error).splitlines()[0]}") from error
        return matrix

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` gives a preprocessing whose matrices are equal to the bit."""
        return {
            "schema_version": SCHEMA_VERSION,
            "encoders": [encoder.to_json() for encoder in self.encoders],
            "dropped": [list(pair) for pair in self.dropped],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preprocessor:
        """Inverse of `to_json`.

        Raises
        ------
        PackageError
            When the data is of another schema version or damaged.
        """
        return read_document(
            data,
            "preprocessor",
            (SCHEMA_VERSION,),
            lambda data: cls(
                tuple(Encoder.from_json(e) for e in data["encoders"]),
                tuple((str(name), str(reason)) for name, reason in data["dropped"]),
            ),
        )


def fit(
    frame: pl.DataFrame,
    y: NDArray[Any],
    feature_set: FeatureSet,
    spec: FeatureSpec,
    task: str,
    *,
    seed: int = 0,
) -> Preprocessor:
    """Fit the preprocessing on training rows; see `fit_transform`, whose matrix the training itself must use."""
    return fit_transform(frame, y, feature_set, spec, task, seed=seed)[0]


def fit_transform(
    frame: pl.DataFrame,
    y: NDArray[Any],
    feature_set: FeatureSet,
    spec: FeatureSpec,
    task: str,
    *,
    seed: int = 0,
    folds: int | NDArray[np.integer] = 5,
) -> tuple[Preprocessor, Matrix]:
    """Fit the preprocessing on training rows and build their matrix.

    The matrix differs from ``transform(frame)`` in the columns of target encoding: there each row gets the
    means of the other folds, so that no training row sees its own label.

    Parameters
    ----------
    frame
        Training rows only, with the candidates of ``feature_set``; n rows.
    y
        Label, [n]: 0/1 (binary), classes (multiclass), numbers (regression).
    spec
        Encodings, scaling, imputing, selection.
    seed, folds
        Number of folds, drawn with the seed, or each row's fold [n]: rows that must not inform each other,
        such as those of one entity, belong into one.

    Raises
    ------
    UsageError
        When an encoding does not fit its feature, or no feature is left.
    """
    if frame.height != len(y):
        raise UsageError(f"{frame.height} rows of features, but {len(y)} labels")
    if not frame.height:
        raise DataError("there are no training rows to fit the preprocessing on")
    require_columns(frame, feature_set.names)
    targets, suffixes = _targets(y, task)
    fold_of = _folds(frame.height, seed, folds)
    encoders, blocks = [], []
    for feature in feature_set.features:
        encoder = _fit_one(frame[feature.name], feature, spec, targets, suffixes)
        if encoder is None:
            continue
        if encoder.kind == "target":
            block = _out_of_fold(frame[feature.name], feature, targets, suffixes, fold_of)
        else:
            block = Preprocessor((encoder,)).transform(frame)
        encoders.append(encoder)
        blocks.append(block)
    dropped = _select(encoders, blocks, targets, spec)
    kept = [at for at, encoder in enumerate(encoders) if encoder.feature not in dropped]
    if not kept:
        raise UsageError(
            "no feature is left for the model to see",
            remedy="Check features.exclude, features.encode and features.select.",
        )
    fitted = Preprocessor(tuple(encoders[at] for at in kept), tuple(dropped.items()))
    return fitted, np.ascontiguousarray(np.hstack([blocks[at] for at in kept]))


def _fit_one(
    values: pl.Series, feature: Feature, spec: FeatureSpec, targets: Floats, suffixes: Sequence[str]
) -> Encoder | None:
    impute = spec.impute == "median"
    match spec.encode.get(feature.name) or _default(values, feature):
        case "numeric":
            return fit_numeric(values, scale=spec.scale == "standard", impute=impute)
        case "one_hot":
            return fit_one_hot(values, feature)
        case "ordinal":
            return fit_ordinal(values, feature, impute=impute)
        case "target":
            return fit_target(values, feature, targets, suffixes)
        case "hashing":
            return fit_hashing(feature)
        case _:
            return None


def _default(values: pl.Series, feature: Feature) -> str:
    if feature.kind != "category":
        return "numeric"
    return "one_hot" if values.drop_nulls().n_unique() <= ONE_HOT_UP_TO else "target"


def _targets(y: NDArray[Any], task: str) -> tuple[Floats, tuple[str, ...]]:
    if task != "multiclass":
        return np.asarray(y, np.float64)[:, None], ("",)
    classes = np.unique(y)
    return (y[:, None] == classes).astype(np.float64), tuple(f"~{c}" for c in classes)


def _folds(n: int, seed: int, folds: int | NDArray[np.integer]) -> NDArray[np.integer]:
    if isinstance(folds, int):
        return np.random.default_rng(seed).permutation(n) % min(folds, n)
    if len(folds) != n:
        raise UsageError(f"{n} rows, but {len(folds)} fold numbers")
    return folds


def _out_of_fold(
    values: pl.Series,
    feature: Feature,
    targets: Floats,
    suffixes: Sequence[str],
    fold_of: NDArray[np.integer],
) -> Matrix:
    block = np.empty((len(values), len(suffixes)), np.float32)
    for fold in np.unique(fold_of):
        held = fold_of == fold
        if held.all():  # a single fold leaves nothing to learn from; its own mean tells all rows the same
            block[:] = targets.mean(axis=0)
            break
        encoder = fit_target(values.filter(pl.Series(~held)), feature, targets[~held], suffixes)
        block[held] = Preprocessor((encoder,)).transform(values.filter(pl.Series(held)).to_frame())
    return block


def _select(
    encoders: Sequence[Encoder], blocks: Sequence[Matrix], targets: Floats, spec: FeatureSpec
) -> dict[str, str]:
    """Twins among features of a single column, then the less telling; on the training matrix out of fold."""
    dropped: dict[str, str] = {}
    single = [at for at, encoder in enumerate(encoders) if len(encoder.names) == 1]
    if spec.select.drop_correlated_above is not None and single:
        names = [encoders[at].feature for at in single]
        values = np.hstack([blocks[at] for at in single])
        related = selection.relevance(values, targets)
        correlation = selection.spearman_matrix(values)
        dropped |= selection.correlated(names, correlation, related, spec.select.drop_correlated_above)
    left = [at for at, encoder in enumerate(encoders) if encoder.feature not in dropped]
    if spec.select.top is not None and len(left) > spec.select.top:
        related = np.array([selection.relevance(blocks[at], targets).max(initial=0.0) for at in left])
        dropped |= selection.beyond_top([encoders[at].feature for at in left], related, spec.select.top)
    return dropped


def _plan(encoders: Sequence[Encoder]) -> _Plan:
    first = np.concatenate([[0], np.cumsum([len(e.names) for e in encoders])]).astype(int).tolist()
    numbers = [(at, e) for at, e in zip(first[:-1], encoders, strict=True) if e.kind == "numeric"]
    others = [(at, e) for at, e in zip(first[:-1], encoders, strict=True) if e.kind != "numeric"]
    fill = np.array([np.nan if e.fill is None else e.fill for _, e in numbers])
    return _Plan(
        width=int(first[-1]),
        names=[e.feature for _, e in numbers],
        numbers=tuple(at for at, _ in numbers),
        fill=None if np.isnan(fill).all() else fill,
        shift=np.array([e.shift for _, e in numbers]),
        scale=np.array([e.scale for _, e in numbers]),
        scaled=any((e.shift, e.scale) != (0.0, 1.0) for _, e in numbers),
        tables=tuple((at, at + len(e.names), e.lookup(), e) for at, e in others),
    )


def _values(frame: pl.DataFrame, names: Sequence[str]) -> Floats:
    """Columns as float64 [n, d]; NaN is missing."""
    if frame.height <= _SINGLE_ROWS:
        place = {name: at for at, name in enumerate(frame.columns)}
        chosen = [place[name] for name in names]
        read = [[row[at] for at in chosen] for row in frame.rows()]
        if all(_PLAIN_VALUES.issuperset(map(type, row)) for row in read):
            return np.array(read, np.float64).reshape(frame.height, len(names))
    # Column by column: `DataFrame.to_numpy` waits for another thread, which costs few rows more.
    values = np.empty((len(names), frame.height))
    for at, column in enumerate(frame[names].get_columns()):
        plain = type(column.dtype) in _PLAIN
        values[at] = (column if plain else column.cast(pl.Float64)).to_numpy()
    return values.T


def _numbers(values: Floats, plan: _Plan) -> Floats:
    """Clip, fill and scale; element by element, so that rows do not depend on each other."""
    clipped = _clipped(values)
    if plan.fill is not None:
        clipped = np.where(np.isnan(clipped), plan.fill, clipped)
    if not plan.scaled:
        return clipped
    with np.errstate(over="ignore"):  # a spread next to nothing
        return _clipped((clipped - plan.shift) / plan.scale)


def _clipped(values: Floats) -> Floats:
    """What `numpy.clip` does, in a third of its time where values are few."""
    found: Floats = np.minimum(np.maximum(values, -LARGEST), LARGEST)
    return found
