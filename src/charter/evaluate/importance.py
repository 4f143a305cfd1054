"""Permutation importance: how much worse the model is when one feature is shuffled."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from charter.data.metrics import Array, Floats, compute, direction
from charter.spec.types import Value


@dataclass(frozen=True, slots=True)
class Importance:
    """What shuffling a column costs.

    Attributes
    ----------
    drop
        Mean loss of the metric over the repeats; positive when the model needs the column, whichever way is better.
    spread
        Standard deviation over the repeats; 0 with one repeat.
    """

    column: str
    drop: float
    spread: float


def permutation_importance(
    frame: pl.DataFrame,
    y: Array,
    predict: Callable[[pl.DataFrame], Array],
    columns: Sequence[str],
    *,
    metric: str,
    seed: int,
    repeats: int = 5,
    max_rows: int = 2000,
    threshold: float | None = None,
    value: Value | None = None,
) -> tuple[Importance, ...]:
    """Shuffle one column at a time and measure again (Breiman, 2001; Fisher, Rudin and Dominici, 2019).

    Parameters
    ----------
    frame, y
        Test rows; a seeded random sample of ``max_rows`` is used where there are more.
    predict
        From rows to scores; called once per column, on ``repeats`` shuffled copies of the rows.
    threshold
        Decide at this score, for metrics of decisions.

    Returns
    -------
    tuple of Importance
        The most important first, ties by name.

    Notes
    -----
    Features that carry the same information share it: each looks unimportant by itself. A column's shuffles depend on
    the seed and its name only, so leaving out a column does not change the others.

    Examples
    --------
    >>> rows = pl.DataFrame({"x": [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], "noise": [1, 2, 3, 4, 5, 6]})
    >>> found = permutation_importance(
    ...     rows, np.array([0, 0, 0, 1, 1, 1]), lambda f: f["x"].to_numpy(), ["x", "noise"], metric="roc_auc", seed=0
    ... )
    >>> [(one.column, one.drop > 0) for one in found]
    [('x', True), ('noise', False)]
    """
    y = np.asarray(y, dtype=np.float64)
    if frame.height > max_rows:
        rows = np.sort(np.random.default_rng(seed).choice(frame.height, max_rows, replace=False))
        frame, y = frame[rows], y[rows]

    def measure(score: Array) -> float:
        decision = None if threshold is None else np.asarray(score, dtype=np.float64) >= threshold
        return compute(metric, y, score, decision, value)

    base, sign, n = measure(predict(frame)), 1.0 if direction(metric) == "up" else -1.0, frame.height
    found = []
    for column in columns:
        rng = np.random.default_rng((seed, zlib.crc32(column.encode())))
        shuffled = [frame.with_columns(frame[column][rng.permutation(n)]) for _ in range(repeats)]
        scores = predict(pl.concat(shuffled))
        drops: Floats = np.array(
            [sign * (base - measure(scores[i * n : (i + 1) * n])) for i in range(repeats)]
        )
        spread = float(drops.std(ddof=1)) if repeats > 1 else 0.0
        found.append(Importance(column, float(drops.mean()), spread))
    return tuple(sorted(found, key=lambda one: (-one.drop, one.column)))
