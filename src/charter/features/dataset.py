"""The data set that models are trained and tested on: observations, features, label, and the side of the split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat

import polars as pl

from charter.core.errors import DataError
from charter.core.spread import HERE, Spread
from charter.data.grid import AS_OF, STEP, on_grid, series_plan
from charter.data.split import ROW, SPLIT, assign_split
from charter.features.featureset import FeatureSet, complete, feature_set, histories
from charter.features.forecasts import forecast_rows
from charter.features.history import History
from charter.features.observations import newest_day, observe
from charter.spec.moments import moving, resolve
from charter.spec.types import ModelSpec

PART_ROWS = 100_000
"""So many rows of forecasts at least get their features together."""
_MOST_PARTS = 8
"""Each part looks at the past of all groups of series, so that many parts would take long."""


def build_dataset(
    sources: Mapping[str, pl.DataFrame], spec: ModelSpec, spread: Spread = HERE
) -> tuple[pl.DataFrame, FeatureSet]:
    """Build the data set of a specification from its prepared sources; dates that follow the data count from theirs.

    Parameters
    ----------
    spread
        Computes the parts of series.

    Returns
    -------
    The observations (see `charter.features.observations.observe`) with ``__row`` (the row's stable id, unique),
    ``__split`` (``train``, ``test`` or ``unused``; a row without a label is unused), and the features; and the
    feature set that made them.

    Raises
    ------
    DataError
        When sources lack what the specification names, ids repeat, or a side of the split is empty.
    """
    if moving(spec):
        spec = resolve(spec, newest_day(sources, spec.data))
    features = feature_set(spec)
    data, train = spec.data, spec.train
    plan = series_plan(data)
    if plan is not None:
        frame = _of_series(on_grid(sources, plan), features, spec, spread)
        frame = frame.with_columns(row_ids(frame, [*plan.keys, AS_OF, STEP]))
        return frame.select(ROW, SPLIT, pl.exclude(ROW, SPLIT)), features
    frame = complete(observe(sources, data, train.task), features, sources)
    by_entity = data.observations.entity is not None
    key = [data.observations.entity or "", AS_OF] if by_entity else list(data.observations.key)
    frame = frame.with_columns(row_ids(frame, key))
    repeated = frame.height - frame[ROW].n_unique()
    if repeated:
        raise DataError(
            f"{repeated} observations repeat the key {', '.join(key)}",
            remedy="Name columns in data.observations.key that together identify a row.",
        )
    split = assign_split(frame, train.split, data.label.name, train.seed, AS_OF).alias(SPLIT)
    return frame.select(ROW, split, pl.exclude(ROW)), features


def _of_series(
    sources: Mapping[str, pl.DataFrame], features: FeatureSet, spec: ModelSpec, spread: Spread
) -> pl.DataFrame:
    """Compute the features of forecasts part by part, whose intermediate values are many times as large as they are.

    Each row depends on nothing but itself and its series' past, so the parts change no bit.
    """
    frame, past = forecast_rows(sources, spec), histories(sources, features)
    size = max(PART_ROWS, -(-frame.height // _MOST_PARTS))
    parts = (frame[start : start + size] for start in range(0, frame.height, size))
    kept = repeat(spread.keep(features)), repeat(spread.keep(past))
    return pl.concat(spread.map(_part, parts, *kept))


def _part(rows: pl.DataFrame, features: FeatureSet, past: Mapping[str, History]) -> pl.DataFrame:
    part = complete(rows, features, past)
    # The model reads 32 bits; what a request brings keeps its precision, since evaluation starts from that.
    made = set(features.names) - {i.name for i in features.inputs}
    narrow = [c for c in part.columns if c in made and part.schema[c] == pl.Float64]
    return part.cast(dict.fromkeys(narrow, pl.Float32))


def row_ids(frame: pl.DataFrame, key: Sequence[str]) -> pl.Series:
    """Stable ids of rows from their key: values joined by ``/``, moments in ISO 8601.

    Examples
    --------
    >>> from datetime import datetime
    >>> row_ids(pl.DataFrame({"who": [7], "as_of": [datetime(2026, 3, 1)]}), ["who", "as_of"]).to_list()
    ['7/2026-03-01T00:00:00']
    """
    parts = []
    for name in key:
        column = pl.col(name)
        if frame.schema[name].is_temporal():
            text = column.cast(pl.Datetime("us")).dt.strftime("%Y-%m-%dT%H:%M:%S%.f")
        else:
            # A slash inside a value must not look like the one between two values.
            text = column.cast(pl.String).str.replace_all("%", "%25", literal=True)
            text = text.str.replace_all("/", "%2F", literal=True)
        parts.append(text.fill_null("%00"))
    return frame.select(pl.concat_str(parts, separator="/").alias(ROW)).to_series()
