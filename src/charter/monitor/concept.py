"""Concept drift: errors that grow though no shift of the inputs explains it. ADWIN and Page-Hinkley. Pure.

What is followed is the loss of each row *beyond what its own score promised*: of a probability ``p`` the Brier loss
``(y - p)^2 - p (1 - p)``, of a predicted class the miss less its promised share, of a number the absolute error. While
the relation between inputs and outcome holds, the mean of this excess stays where it is whatever the inputs do; when it
rises, the concept has changed (or outcomes are wrong). Errors that shrink are no alarm.

Bifet and Gavalda, "Learning from time-changing data with adaptive windowing" (2007); Page, "Continuous inspection
schemes" (1954), as implemented in River.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]

BLOCKS = 500
"""Of a window at most so many means are kept, of neighbouring rows."""
FEWEST = 100
"""Rows with an outcome, below which a window's errors are not followed."""
RARE, EXPECTED = 0.1, 10
"""Where the rarer outcome is promised to fewer than `RARE`, a block holds enough rows for so many of it: the error of a
single row is far from normal, and one fraud in a thousand would pass for a change."""
ADWIN_DELTA = 0.002
PH_DELTA, PH_THRESHOLD = 0.5, 20.0
"""In standard errors of a block's mean. Of normal means about one in 10^9 would be a false alarm (Siegmund, "Sequential
Analysis", 1985, eq. 2.57); those of small blocks are skewed and alarm more often, see benchmarks/monitoring."""


def excess(rows: pl.DataFrame, task: str) -> Floats:
    """Loss of each row beyond what its score promised, shape (n,).

    Parameters
    ----------
    rows
        ``score``, ``outcome`` (text), and of several classes ``decision``; all known.
    task
        Any; a forecast is a number like that of a regression.

    Examples
    --------
    >>> rows = pl.DataFrame({"score": [0.2, 0.2], "outcome": ["0", "1"]})
    >>> excess(rows, "binary").round(2).tolist()
    [-0.12, 0.48]
    """
    score = rows["score"].to_numpy().astype(np.float64)
    if task == "multiclass":
        missed = (rows["decision"] != rows["outcome"]).cast(pl.Float64).to_numpy()
        return np.asarray(missed - (1 - score))
    actual = rows["outcome"].cast(pl.Float64).to_numpy()
    if task == "binary":
        p = np.clip(score, 0.0, 1.0)
        return np.asarray((actual - p) ** 2 - p * (1 - p))
    return np.asarray(np.abs(actual - score))


def rarer_share(rows: pl.DataFrame, task: str) -> float:
    """Mean promised share of the rarer outcome of rows with ``score``; 1 where outcomes are not two.

    Examples
    --------
    >>> rarer_share(pl.DataFrame({"score": [0.02, 0.04]}), "binary")
    0.03
    """
    if task != "binary" or not rows.height:
        return 1.0
    mean = float(np.clip(rows["score"].to_numpy().astype(np.float64), 0.0, 1.0).mean())
    return min(mean, 1 - mean)


@dataclass(frozen=True, slots=True)
class Losses:
    """The excess losses of a window in the order of their moments, in blocks.

    Attributes
    ----------
    every
        Rows of a block; the last has between one and two times as many.
    deviation
        Standard deviation of single rows.
    means
        Of the blocks.
    """

    every: int
    deviation: float
    means: tuple[float, ...]

    @classmethod
    def of(cls, losses: Floats, rarer: float = 1.0) -> Losses | None:
        """Summarise; None for fewer than `FEWEST` rows, or than a block takes.

        Parameters
        ----------
        rarer
            Mean promised share of the rarer outcome; 1 where there is none.
        """
        n = len(losses)
        every = -(-n // BLOCKS)
        if rarer < RARE:
            every = max(every, math.ceil(EXPECTED / max(rarer, 1 / n))) if n else every
        if n < max(FEWEST, every):
            return None
        starts = np.arange(0, n - every + 1, every)
        means = np.add.reduceat(losses, starts) / np.diff(np.append(starts, n))
        return cls(every, float(losses.std()), tuple(float(m) for m in means.round(6)))


@dataclass(frozen=True, slots=True)
class Change:
    """A detector's word on a window.

    Attributes
    ----------
    at
        Share of the window's rows after which the change was told; None while nothing was told.
    before, after
        Mean excess loss that the detector held the change between; None where it keeps none.
    """

    detector: str
    at: float | None = None
    before: float | None = None
    after: float | None = None


def follow(windows: Sequence[Losses]) -> tuple[tuple[Change, Change], ...]:
    """Run both detectors over the windows of one version, oldest first.

    Returns
    -------
    For each window what ADWIN and Page-Hinkley told in it. After an alarm both begin anew.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> calm, worse = rng.normal(0, 0.2, (2, 2000)) + [[0], [0.1]]
    >>> [[c.at is not None for c in told] for told in follow([Losses.of(calm), Losses.of(worse)])]
    [[False, False], [True, True]]
    """
    from river.drift import ADWIN, PageHinkley

    if not windows:
        return ()
    largest = max(abs(m) for m in windows[0].means) or 1.0
    adaptive = ADWIN(delta=ADWIN_DELTA)  # type: ignore[no-untyped-call]
    cumulative = PageHinkley(delta=PH_DELTA, threshold=PH_THRESHOLD, alpha=1.0, mode="up")
    deviation = next((w.deviation for w in windows if w.deviation > 0), 1.0)
    found = []
    for window in windows:
        told = {"adwin": Change("adwin"), "page_hinkley": Change("page_hinkley")}
        error = deviation / math.sqrt(window.every)
        for place, mean in enumerate(window.means):
            at = (place + 1) / len(window.means)
            before = adaptive.estimation
            # ADWIN's bound is for losses up to 1: those of the first window, which knows nothing of later ones.
            adaptive.update(min(max(mean / largest, -1.0), 1.0))  # type: ignore[no-untyped-call]
            worse = adaptive.drift_detected and adaptive.estimation > before
            if worse and told["adwin"].at is None:
                told["adwin"] = Change("adwin", at, before * largest, adaptive.estimation * largest)
            cumulative.update(mean / error)  # type: ignore[no-untyped-call]
            if cumulative.drift_detected and told["page_hinkley"].at is None:
                told["page_hinkley"] = Change("page_hinkley", at)
        found.append((told["adwin"], told["page_hinkley"]))
    return tuple(found)


def concepts(kept: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """What the detectors told of windows as they are kept, by version and start."""
    found = {}
    for version in dict.fromkeys(one["version"] for one in kept):
        own = [one for one in kept if one["version"] == version and one.get("losses") is not None]
        losses = [
            Losses(one["losses"]["every"], one["losses"]["deviation"], tuple(one["losses"]["means"]))
            for one in own
        ]
        for one, told in zip(own, follow(losses), strict=True):
            found[version, one["start"]] = [
                {"detector": c.detector, "at": c.at, "before": c.before, "after": c.after} for c in told
            ]
    return found
