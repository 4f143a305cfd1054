"""The windows of every entity as of one moment, for a store that serving looks them up in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from charter.data.grid import AS_OF
from charter.features.featureset import FeatureSet
from charter.features.history import MOMENT, History
from charter.features.windows import window_features

_CHUNK_ENTITIES = 20_000


def entities_of(histories: Mapping[str, History]) -> pl.Series:
    """Everybody who has an event in any source: distinct, ascending."""
    known = [h.entities.alias("entity") for h in histories.values()]
    return pl.concat(known).unique().sort()


def entity_windows(
    histories: Mapping[str, History],
    features: FeatureSet,
    as_of: datetime,
    *,
    chunk: int = _CHUNK_ENTITIES,
) -> Iterator[tuple[pl.Series, NDArray[np.float64]]]:
    """Compute the windows of all entities, chunk by chunk: memory does not grow with their number.

    Parameters
    ----------
    histories
        Per source of a window its events, see `charter.features.featureset.histories`.
    as_of
        Naive UTC; events strictly before it are known.

    Yields
    ------
    The entities of a chunk, and float64 [n, d] in the order of `charter.features.windows.window_names`, NaN where a
    window has no value: to the bit what `charter.features.featureset.complete` gives for the same moment.
    """
    windows, times = {w.name: w for w in features.windows}, dict(features.times)
    entity = features.entity or ""
    for keys in entities_of(histories).to_frame(entity).iter_slices(chunk):
        observations = keys.with_columns(pl.lit(as_of, dtype=MOMENT).alias(AS_OF))
        computed = window_features(observations, histories, windows, entity, times)
        yield keys[entity], computed.fill_null(float("nan")).to_numpy()
