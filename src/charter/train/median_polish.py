"""Median polish (Tukey, "Exploratory Data Analysis", 1977): levels split into effects of what they have in common.

Medians, so that one series that never sold moves nothing. Effects are shrunk towards none where few series speak for
them (empirical Bayes; Efron and Morris, 1975).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def polish(
    level: Floats, keys: Sequence[Integers], widths: Sequence[int], rounds: int = 4
) -> tuple[Floats, ...]:
    """Effects of the values of each key on the level, by median polish, shrunk.

    Parameters
    ----------
    level
        float64 [n].
    keys
        For each key the codes of its values, int64 [n].
    widths
        How many codes each key has.

    Returns
    -------
    For each key float64 [width], NaN for a code that does not occur.

    Examples
    --------
    >>> store, item = np.repeat([0, 1, 2], 3), np.tile([0, 1, 2], 3)
    >>> stores, items = polish(np.array([5.0, 6, 7, 6, 7, 8, 7, 8, 9]), [store, item], [3, 4])
    >>> stores.round(3).tolist(), items.round(3).tolist()
    ([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0, nan])
    """
    found = [np.full(width, np.nan) for width in widths]
    if not len(level):
        return tuple(found)
    coded = [np.unique(own, return_inverse=True, return_counts=True) for own in keys]
    effects = [np.zeros(len(present)) for present, _, _ in coded]
    rest = level - np.median(level)
    for _ in range(rounds):
        for effect, (_, code, count) in zip(effects, coded, strict=True):
            step = _medians(rest, code, count)
            step -= np.median((effect + step)[code])
            effect += step
            rest = rest - step[code]
    noise = (1.4826 * float(np.median(np.abs(rest - np.median(rest))))) ** 2
    for values, effect, (present, _, count) in zip(found, effects, coded, strict=True):
        error = noise / count
        true = max(float(np.mean(effect**2 - error)), 0.0)
        values[present] = effect * true / np.maximum(true + error, 1e-300)
    return tuple(found)


def _medians(values: Floats, code: Integers, count: Integers) -> Floats:
    """Median of the values of each code."""
    ranked = values[np.lexsort((values, code))]
    start = np.cumsum(count) - count
    return np.asarray((ranked[start + (count - 1) // 2] + ranked[start + count // 2]) / 2)
