"""Drift of two tables from their values themselves, where exactness is wanted more than speed. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import polars as pl

from charter.data.distance import ks_of_values, wasserstein_of_values
from charter.data.profile import profile
from charter.data.summary import numbers
from charter.monitor.compare import compare
from charter.monitor.drift_types import Measured, Role


def compare_values(
    reference: pl.DataFrame, current: pl.DataFrame, *, role: Role = "feature", ignore: Collection[str] = ()
) -> tuple[Measured, ...]:
    """Compare two tables as `charter.monitor.compare.compare` does, with exact distances of numbers.

    The Kolmogorov-Smirnov and Wasserstein distances are those of the values (equal to SciPy's), not of their bins; the
    stability index and the test remain those of bins, which is what they are defined on.

    Examples
    --------
    >>> found = compare_values(pl.DataFrame({"x": [1.0, 2.0, 3.0] * 9}), pl.DataFrame({"x": [2.0, 3.0, 4.0] * 9}))
    >>> round(found[0].effects["ks"], 2), round(found[0].effects["wasserstein"], 4)
    (0.33, 1.2019)
    """
    before = profile(reference)
    measured = compare(before, profile(current, before), role=role, ignore=ignore)
    return tuple(
        _exact(m, reference[m.column], current[m.column], before.columns[m.column].standard_deviation)
        if m.aspect == "distribution" and m.kind == "numeric"
        else m
        for m in measured
    )


def _exact(m: Measured, reference: pl.Series, current: pl.Series, spread: float | None) -> Measured:
    a, b = numbers(reference), numbers(current)
    if a is None or b is None:
        return m
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    if not len(a) or not len(b):
        return m
    effects = {**m.effects, "ks": ks_of_values(a, b)}
    if spread:
        effects["wasserstein"] = wasserstein_of_values(a, b) / spread
    return replace(m, effects=effects)
