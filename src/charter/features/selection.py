"""Which features are left out, decided on training rows: twins, and all but the most telling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_DIGITS = 9
"""Correlations are compared to nine digits, so that the last bits of a matrix product decide nothing."""


def spearman_matrix(values: NDArray[np.floating]) -> Floats:
    """Spearman rank correlation of the columns of ``values`` [n, d].

    Ties have their mean rank. A missing value (NaN) stands at the middle of the ranks, where it neither agrees
    nor disagrees with anything. A constant column correlates with nothing (0).

    Returns
    -------
    float64 [d, d], rounded to nine digits; 1 on the diagonal.

    Examples
    --------
    >>> spearman_matrix(np.array([[1.0, 9.0], [2.0, 4.0], [3.0, 1.0]])).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    n, d = values.shape
    centred = np.empty((n, d))
    ranks = pl.DataFrame(np.asarray(values, np.float64), schema=[str(j) for j in range(d)], orient="row")
    ranks = ranks.select(pl.all().fill_nan(None).rank("average"))
    for j, column in enumerate(ranks.iter_columns()):
        rank = column.to_numpy()
        present = ~np.isnan(rank)
        centred[:, j] = np.where(present, rank - rank[present].mean() if present.any() else 0.0, 0.0)
    norms = np.sqrt((centred**2).sum(axis=0))
    unit = np.divide(centred, norms, out=np.zeros_like(centred), where=norms > 0)
    correlation: Floats = np.clip(np.round(unit.T @ unit, _DIGITS), -1.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    return correlation


def relevance(values: NDArray[np.floating], targets: Floats) -> Floats:
    """Absolute Spearman correlation of each column with the label, the largest over the columns of ``targets``.

    Parameters
    ----------
    values
        [n, d].
    targets
        [n, t]: the label, or one indicator per class.
    """
    d = values.shape[1]
    both = spearman_matrix(np.hstack([np.asarray(values, np.float64), targets]))
    largest: Floats = np.abs(both[:d, d:]).max(axis=1)
    return largest


def correlated(names: Sequence[str], correlation: Floats, relevances: Floats, above: float) -> dict[str, str]:
    """Find features to drop: of each pair above the limit, the one that says less about the label.

    The closest pair is settled first; a feature once dropped drops no other. Ties keep the first by name.

    Returns
    -------
    Dropped feature to the reason in words.

    Examples
    --------
    >>> correlated(["a", "b"], np.array([[1.0, 0.95], [0.95, 1.0]]), np.array([0.3, 0.5]), 0.8)
    {'a': 'correlates 0.950 with b, which says more about the label'}
    """
    strength = np.abs(correlation)
    pairs = [
        (-strength[i, j], *sorted((names[i], names[j]))) for i, j in np.argwhere(np.triu(strength > above, 1))
    ]
    by_name = dict(zip(names, relevances, strict=True))
    dropped: dict[str, str] = {}
    for negative, first, second in sorted(pairs):
        if first in dropped or second in dropped:
            continue
        loser, winner = (first, second) if by_name[first] < by_name[second] else (second, first)
        dropped[loser] = f"correlates {-negative:.3f} with {winner}, which says more about the label"
    return dropped


def beyond_top(names: Sequence[str], relevances: Floats, top: int) -> dict[str, str]:
    """Find features to drop so that the ``top`` most related to the label stay; ties keep the first by name."""
    ranked = sorted(zip(-relevances, names, strict=True))
    return {
        name: f"rank {rank} of {len(ranked)} by correlation with the label ({-negative:.3f})"
        for rank, (negative, name) in enumerate(ranked, 1)
        if rank > top
    }
