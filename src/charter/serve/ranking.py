"""Putting scored chunks in one order without holding them all: cuts by score, and what lies between two cuts.

Each chunk is in order of falling score already. Cuts part the scores into ranges of about `RANGE_ROWS` rows; a range is
a slice of every chunk, so it is read, sorted and written by itself. Rows that tie at a cut are a range of their own,
which needs no sorting however many they are: calibrated scores tie by the thousand.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

RANGE_ROWS = 1_000_000
EVERY = 64
"""One score in so many is looked at to choose the cuts; a range is too large by that much a chunk at most."""


def sample(falling: Floats, every: int = EVERY) -> Floats:
    """Scores of a chunk to choose cuts from."""
    return falling[::every]


def cuts(samples: Sequence[Floats], *, every: int = EVERY, range_rows: int = RANGE_ROWS) -> Floats:
    """Choose scores at which to cut.

    Parameters
    ----------
    samples
        Of each chunk, `sample` of its scores (no NaN).

    Returns
    -------
    Distinct scores, falling; empty when everything is one range.

    Examples
    --------
    >>> cuts([np.array([0.9, 0.5]), np.array([0.8, 0.1])], every=1, range_rows=2).tolist()
    [0.5]
    """
    together = np.sort(np.concatenate(samples))[::-1] if samples else np.empty(0)
    step = max(range_rows // every, 1)
    return np.unique(together[step::step])[::-1]


def places(falling: Floats, at: Floats, rows: int) -> Places:
    """Where the ranges begin and end in a chunk.

    Parameters
    ----------
    falling : float64 [m]
        The chunk's scores without the missing ones, which stand after all others.
    at : float64 [k]
        `cuts`.
    rows
        Rows of the chunk, those without a score included.

    Returns
    -------
    int64 [2k + 3]: range i holds the rows from place i to place i + 1 (exclusive). Even ranges lie between cuts, odd
    ones hold the rows at a cut; the last holds the rows without a score.

    Examples
    --------
    >>> places(np.array([0.9, 0.5, 0.5, 0.1]), np.array([0.5]), 5).tolist()
    [0, 1, 3, 4, 5]
    """
    rising = -falling
    above = np.searchsorted(rising, -at, side="left")
    through = np.searchsorted(rising, -at, side="right")
    inner = np.stack([above, through], axis=1).ravel()
    return np.concatenate([[0], inner, [len(falling), rows]]).astype(np.int64)


def needs_sorting(place: int, ranges: int) -> bool:
    """Whether the rows of a range differ in score: not those at a cut, and not those without one."""
    return place % 2 == 0 and place < ranges - 1
