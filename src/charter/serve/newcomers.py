"""Answers about series without a past: what their siblings would sell, see `charter.train.cold_start`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.data.grid import STEP, SeriesPlan
from charter.serve.analogy import Lent
from charter.train.calibrate import apply as calibrate
from charter.train.cold_start import Borrowed, ColdStart, borrow
from charter.train.siblings import Families

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Answer(NamedTuple):
    """What is said of n rows.

    Attributes
    ----------
    score, lower, upper
        float64 [n], in the label's unit; NaN where there is no sibling, and ends of no interval.
    borrowed
        The siblings, and the kind of newness of each row.
    learned
        float64 [m]: what the model says of each sibling, on the scale that it learned.
    said
        float64 [n]: what they make of it, on the scale of log(1 + label).
    """

    score: Floats
    lower: Floats
    upper: Floats
    borrowed: Borrowed
    learned: Floats
    said: Floats

    def lent(self, new: npt.NDArray[np.bool_], inputs: pl.DataFrame, cold: ColdStart) -> Lent | None:
        """What reasons are made of, for the rows among N that were answered; None where none was.

        Parameters
        ----------
        new
            bool [N]: which of them the n rows are.
        inputs
            The n rows.
        """
        answered = np.isfinite(self.said)
        rows = new.copy()
        rows[new] = answered
        answer = self.said if cold.transform == "log1p" else np.expm1(self.said)
        moved = cold.on_scale(self.learned) + self.borrowed.moved
        return Lent(rows, new, inputs, self.borrowed, moved, self.learned, answer) if answered.any() else None


class Newcomers:
    """Forecasts series without a past.

    Parameters
    ----------
    kept
        What a bundle keeps of `ColdStart`.
    sources
        The observed source and those of the attributes, regular.
    """

    def __init__(
        self, kept: Mapping[str, Any], sources: Mapping[str, pl.DataFrame], plan: SeriesPlan
    ) -> None:
        self.cold = ColdStart.from_json(kept)
        self._sources, self._plan = sources, plan

    @cached_property
    def families(self) -> Families:
        """Where siblings are found; laid out when the first new series is asked about."""
        plan = self._plan
        attributes = {name: self._sources[name] for name, _ in plan.attributes}
        return Families(self.cold.likeness, self._sources[plan.source], plan, attributes)

    def answer(
        self,
        inputs: pl.DataFrame,
        located: pl.DataFrame,
        ask: Callable[[pl.DataFrame], Floats],
        hidden: Integers | None = None,
    ) -> Answer:
        """Forecast rows by their siblings.

        Parameters
        ----------
        inputs
            n rows as requests bring them.
        located
            The same rows with ``series``, ``step`` and attributes.
        ask
            What the model says of rows like ``inputs``, on the scale that it learned.
        hidden
            As `charter.train.cold_start.borrow` takes it: also rows with a past are then treated as new.
        """
        cold, step = self.cold, located[STEP].to_numpy()
        borrowed, learned, said = self._said(inputs, located, ask, hidden)
        known = np.isfinite(said)
        score = np.where(known, calibrate(cold.calibration, np.where(known, said, 0.0)), np.nan)
        lower = upper = np.full(len(said), np.nan)
        if cold.intervals is not None:
            lower, upper = cold.intervals.apply(said, step, borrowed.unknown.astype(str).tolist())
        return Answer(score, lower, upper, borrowed, learned, said)

    def outcomes(
        self,
        inputs: pl.DataFrame,
        located: pl.DataFrame,
        ask: Callable[[pl.DataFrame], Floats],
        shares: Sequence[float],
    ) -> tuple[Floats, Integers]:
        """Quantiles of what rows may come to, as far as it was rehearsed for such newness.

        Parameters
        ----------
        inputs, located, ask
            As of `answer`; n rows.
        shares
            k probabilities.

        Returns
        -------
        Float64 [n, k] in the label's unit, NaN where nothing could be rehearsed; and the kind of newness of each row,
        int64 [n].
        """
        borrowed, _, said = self._said(inputs, located, ask, None)
        kind, intervals = borrowed.unknown, self.cold.intervals
        if intervals is None:
            return np.full((len(said), len(shares)), np.nan), kind
        return intervals.quantiles(said, located[STEP].to_numpy(), shares, kind.astype(str).tolist()), kind

    def rehearsed(self, kind: int) -> bool:
        """Whether a kind of newness has errors of its own; else it has the widest of the others', if there are any."""
        return self.cold.intervals is not None and str(kind) in self.cold.intervals.groups

    def _said(
        self,
        inputs: pl.DataFrame,
        located: pl.DataFrame,
        ask: Callable[[pl.DataFrame], Floats],
        hidden: Integers | None,
    ) -> tuple[Borrowed, Floats, Floats]:
        """The siblings, what the model says of them, and what they make of the rows on the scale of log(1 + label)."""
        borrowed: Borrowed = borrow(self.families, located, hidden)
        learned = ask(borrowed.questions(inputs))
        return borrowed, learned, borrowed.answer(self.cold.on_scale(learned))
