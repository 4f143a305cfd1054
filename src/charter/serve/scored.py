"""What a scorer answers for a batch of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.serve.analogy import Lent
from charter.serve.types import Reason, Scalar

REASON = pl.Struct({"feature": pl.String, "value": pl.String, "contribution": pl.Float64, "text": pl.String})


@dataclass(frozen=True, slots=True)
class Numbers:
    """What the model says of n rows, before anything is decided.

    Attributes
    ----------
    score
        float64 [n]: see `Scored.score`.
    scores
        float64 [n, k] for multiclass, else None.
    best
        Place of the predicted class [n] for multiclass, else None.
    X
        float32 [n, d]: the design matrix.
    features
        The inputs and the features, before encoding.
    bounds
        Of forecasts: lower and upper ends of the intervals, each float64 [n].
    lent
        Of forecasts: rows that siblings answered; what is said of these does not rest on ``X``.
    """

    score: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64] | None
    best: npt.NDArray[np.intp] | None
    X: npt.NDArray[np.float32]
    features: pl.DataFrame
    bounds: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None
    lent: Lent | None = None


@dataclass(slots=True)
class Scored:
    """Answers for n rows, column by column.

    Attributes
    ----------
    score
        float64 [n]: calibrated probability of the positive class (binary), of the predicted class (multiclass), or
        the value (regression); NaN where a fallback rule answered without a score.
    scores
        float64 [n, k] for multiclass, else None.
    prediction
        The class, or the value; None when nothing decides.
    decision
        ``positive`` or ``negative`` (binary with a threshold), the class (multiclass), else None.
    band
        Name of the band that the score falls into.
    inputs
        What was asked, typed, with ``as_of`` filled: n rows.
    features
        What the model saw (and the inputs); rows that a fallback answered are left out.
    bounds
        Of forecasts: lower and upper ends of the intervals, each float64 [n].
    lookups
        How many rows had which outcome in the feature store (see `charter.serve.online.OUTCOMES`).
    propensity
        float64 [n]: probability with which the decision was made, NaN where nothing was decided; None where no decision
        is left to chance (see `charter.serve.explore`).
    versions
        By which version each row was answered; None where one answered all.
    """

    score: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64] | None
    prediction: list[Scalar]
    decision: list[str | None]
    band: list[str | None]
    reasons: list[list[Reason]]
    warnings: list[list[str]]
    fallback: list[bool] = field(default_factory=list)
    inputs: pl.DataFrame | None = None
    features: pl.DataFrame | None = None
    bounds: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None
    lookups: Mapping[str, int] = field(default_factory=dict)
    propensity: npt.NDArray[np.float64] | None = None
    versions: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.score)

    def frame(self) -> pl.DataFrame:
        """Answers as columns.

        They are ``score``, (``lower``, ``upper``), (``scores``), ``prediction``, ``decision``, ``band``, ``reasons``,
        ``warnings``. Values within reasons are text here, since they are of many types.
        """
        columns = [pl.Series("score", self.score, nan_to_null=True)]
        if self.bounds is not None:
            columns += [
                pl.Series(end, values, nan_to_null=True)
                for end, values in zip(("lower", "upper"), self.bounds, strict=True)
            ]
        if self.scores is not None:
            columns.append(pl.Series("scores", self.scores.tolist(), dtype=pl.List(pl.Float64)))
        reasons = [[plain_reason(r) for r in row] for row in self.reasons]
        return pl.DataFrame(
            [
                *columns,
                _prediction(self.prediction),
                pl.Series("decision", self.decision, dtype=pl.String),
                pl.Series("band", self.band, dtype=pl.String),
                pl.Series("reasons", reasons, dtype=pl.List(REASON)),
                pl.Series("warnings", self.warnings, dtype=pl.List(pl.String)),
            ]
        )


def stack(parts: Sequence[Scored]) -> Scored:
    """One after the other; rows that a fallback answered have no scores by class."""
    width = next((p.scores.shape[1] for p in parts if p.scores is not None), 0)
    seen = [p.features for p in parts if p.features is not None]
    matrices = [np.full((len(p), width), np.nan) if p.scores is None else p.scores for p in parts]
    return Scored(
        np.concatenate([p.score for p in parts]),
        np.concatenate(matrices) if width else None,
        [v for p in parts for v in p.prediction],
        [v for p in parts for v in p.decision],
        [v for p in parts for v in p.band],
        [v for p in parts for v in p.reasons],
        [v for p in parts for v in p.warnings],
        [v for p in parts for v in p.fallback],
        features=pl.concat(seen, how="vertical_relaxed") if seen else None,
        bounds=_stacked(parts),
    )


def gather(parts: Sequence[tuple[Scored, int]]) -> Scored:
    """Answers of single rows of batches, one after the other; what only the log needs is left out.

    Parameters
    ----------
    parts
        Batch and place within it, n pairs. What a batch says is copied: others share it.
    """
    width = next((s.scores.shape[1] for s, _ in parts if s.scores is not None), 0)
    nothing = np.full(width, np.nan)
    scores = [nothing if s.scores is None else s.scores[i] for s, i in parts]
    bounds = None
    if any(s.bounds is not None for s, _ in parts):
        ends = [(np.nan, np.nan) if s.bounds is None else (s.bounds[0][i], s.bounds[1][i]) for s, i in parts]
        bounds = (np.array([low for low, _ in ends]), np.array([high for _, high in ends]))
    return Scored(
        np.array([s.score[i] for s, i in parts]),
        np.array(scores) if width else None,
        [s.prediction[i] for s, i in parts],
        [s.decision[i] for s, i in parts],
        [s.band[i] for s, i in parts],
        [s.reasons[i] for s, i in parts],
        [list(s.warnings[i]) for s, i in parts],
        [s.fallback[i] for s, i in parts],
        bounds=bounds,
    )


def unanswered(inputs: pl.DataFrame, why: str) -> Scored:
    """What a model that broke says of each row of its inputs: nothing."""
    n = inputs.height
    nothing: list[None] = [None] * n
    said: list[list[str]] = [[why] for _ in range(n)]
    return Scored(
        np.full(n, np.nan), None, [*nothing], [*nothing], [*nothing], [[] for _ in range(n)], said, [True] * n,
        inputs=inputs,
    )  # fmt: skip


def _stacked(
    parts: Sequence[Scored],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    if all(p.bounds is None for p in parts):
        return None
    ends = [p.bounds or (np.full(len(p), np.nan),) * 2 for p in parts]
    return np.concatenate([low for low, _ in ends]), np.concatenate([high for _, high in ends])


def _prediction(values: list[Scalar]) -> pl.Series:
    numeric = all(v is None or isinstance(v, float) for v in values) and any(v is not None for v in values)
    return pl.Series("prediction", values, dtype=pl.Float64 if numeric else pl.String)


def plain_reason(reason: Reason) -> dict[str, str | float | None]:
    """Put a reason as it stands in a frame: its value is text."""
    return {
        "feature": reason.feature,
        "value": None if reason.value is None else str(reason.value),
        "contribution": reason.contribution,
        "text": reason.text,
    }
