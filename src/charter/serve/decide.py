"""From scores to predictions, decisions and bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from charter.serve.types import Scalar

POSITIVE, NEGATIVE = "positive", "negative"


def decide_binary(
    score: npt.NDArray[np.float64], threshold: float | None, classes: Sequence[str]
) -> tuple[list[Scalar], list[str | None]]:
    """Positive where ``score >= threshold``.

    Parameters
    ----------
    score : float64 [n]
    threshold
        None decides nothing.
    classes
        Negative and positive class; empty stands for ``0`` and ``1``.

    Returns
    -------
    Predicted classes and decisions; None where there is no threshold or no score.

    Examples
    --------
    >>> decide_binary(np.array([0.2, 0.5]), 0.5, ("no", "yes"))
    (['no', 'yes'], ['negative', 'positive'])
    """
    if threshold is None:
        return [None] * len(score), [None] * len(score)
    low, high = (classes[0], classes[1]) if len(classes) == 2 else ("0", "1")
    positive = (score >= threshold).tolist()
    known = np.isfinite(score).tolist()
    predictions: list[Scalar] = [
        (high if p else low) if k else None for p, k in zip(positive, known, strict=True)
    ]
    decisions = [(POSITIVE if p else NEGATIVE) if k else None for p, k in zip(positive, known, strict=True)]
    return predictions, decisions


def bands(score: npt.NDArray[np.float64], lower_bounds: Mapping[str, float]) -> list[str | None]:
    """Name of the band with the highest lower bound that the score reaches; None below all.

    Examples
    --------
    >>> bands(np.array([0.7, 0.5, 0.1]), {"high": 0.7, "medium": 0.4})
    ['high', 'medium', None]
    """
    names, places = band_places(score, lower_bounds)
    texts: list[str | None] = [None, *names]
    return [texts[i] for i in places.tolist()]


def band_places(
    score: npt.NDArray[np.float64], lower_bounds: Mapping[str, float]
) -> tuple[list[str], npt.NDArray[np.intp]]:
    """Names of the bands from the lowest, and each row's place among them counted from 1; 0 is no band.

    Examples
    --------
    >>> band_places(np.array([0.7, 0.5, 0.1]), {"high": 0.7, "medium": 0.4})[1].tolist()
    [2, 1, 0]
    """
    names, bounds = _ordered(tuple(lower_bounds.items()))
    # NaN sorts after every number; a row without a score has no band.
    return [*names], np.where(np.isfinite(score), bounds.searchsorted(score, side="right"), 0)


@lru_cache(maxsize=1024)
def _ordered(lower_bounds: tuple[tuple[str, float], ...]) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    ordered = sorted(lower_bounds, key=lambda pair: pair[1])
    return tuple(name for name, _ in ordered), np.array([bound for _, bound in ordered], dtype=np.float64)
