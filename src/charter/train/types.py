"""What training hands on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from charter.features.preprocess import Preprocessor
from charter.train.calibrate import Calibration
from charter.train.ports import Fitted
from charter.train.search import Candidate
from charter.train.series_methods import SeriesMethods


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A model with all that is needed to use it, judge it, and see how it came about.

    Equal data, specification and seed give equal bytes in everything but ``run`` and the candidates' seconds.

    Attributes
    ----------
    model
        Fitted on all training rows.
    onnx, native
        The same model as portable bytes, and its own format for reasons, by file name.
    preprocessor
        Fitted on all training rows.
    calibration
        From raw score to probability; kind ``none`` leaves scores as they are.
    classes
        In the order of the score's columns: sorted names (multiclass), ``("0", "1")`` (binary), empty (regression).
    learner, params
        The winner, and the parameters that the model was fitted with.
    metric, value
        The search metric, and its mean over folds for ``params`` without early stopping, before calibration.
    baselines
        The search metric on the out-of-fold rows for ``no model`` and ``rule today``; None where it has no value.
    candidates
        Every trial, in order.
    oof
        Out-of-fold rows in the order of the data set: ``__row``, ``fold`` Int32, the label under ``label``, and three
        Float64 columns, or lists of them (multiclass). ``score`` is on the final model's scale, before calibration;
        ``calibrated_score`` is what `calibration` makes of it and what a decision threshold is chosen on;
        ``raw_score`` is what the fold's model said. The first and the last differ in time splits only: see
        `charter.train.calibrate.align`.
    parity
        ``max_abs_difference`` between trained and exported model on training rows (for regression relative to the
        largest value, if above 1), ``rows``, ``limit``.
    importance
        Share of each feature in the model's own measure of importance; sums to 1 unless all are 0.
    methods
        Statistical methods whose forecasts are columns of the model's matrix; None where it reads features alone.
    as_new
        float64 [m]: what the folds' models said to the questions of a rehearsal of new series, on the scale that is
        learned; None where nothing was rehearsed.
    run
        Identifier given by the tracker; empty when nothing was tracked.
    """

    model: Fitted
    onnx: bytes
    native: Mapping[str, bytes]
    preprocessor: Preprocessor
    calibration: Calibration
    classes: tuple[str, ...]
    learner: str
    params: Mapping[str, Any]
    metric: str
    value: float
    baselines: Mapping[str, float | None]
    candidates: tuple[Candidate, ...]
    oof: pl.DataFrame
    parity: Mapping[str, float]
    importance: Mapping[str, float]
    methods: SeriesMethods | None = None
    as_new: np.ndarray | None = None
    run: str = ""

    def candidates_json(self) -> dict[str, Any]:
        """Plain data about the search, for people and for reproduction."""
        return {
            "schema_version": 1,
            "metric": self.metric,
            "winner": {"learner": self.learner, "params": dict(self.params), "value": self.value},
            "baselines": dict(self.baselines),
            "importance": dict(self.importance),
            "candidates": [candidate.to_json() for candidate in self.candidates],
        }
