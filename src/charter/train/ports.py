"""What training plugs into: learners, fitted models, and the place where runs are written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

Params = Mapping[str, Any]
"""Parameters of a learner: plain numbers and words, so that they stand in JSON."""


class Space(Protocol):
    """Where a learner says what may be searched. Each call names a parameter and returns its next value."""

    def real(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return a number from ``[low, high]``, evenly on a logarithmic scale when ``log``."""
        ...

    def integer(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Return a whole number from ``[low, high]``, both included."""
        ...

    def choice(self, name: str, options: Sequence[Any]) -> Any:
        """Return one of ``options``."""
        ...


@dataclass(frozen=True, slots=True)
class Validation:
    """Rows that a learner may watch to know when to stop; it never fits on them.

    Attributes
    ----------
    X : ndarray of float32, shape (n, d)
    y : ndarray, shape (n,)
    weight : ndarray of float64, shape (n,), or None
    metric
        Word of `charter.spec.vocabulary` that the search optimises.
    """

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None = None
    metric: str = ""


@runtime_checkable
class Fitted(Protocol):
    """A fitted model that can leave this process as plain data.

    ``params`` are the parameters in force after fitting: a learner that stopped early says here where.
    """

    @property
    def params(self) -> Params:
        """Parameters in force after fitting."""
        ...

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Float64 probability of the positive class (n,), probabilities (n, k), or value (n,)."""
        ...

    def to_onnx(self, names: Sequence[str]) -> bytes:
        """Serialise: input ``X`` float32 [n, d], output ``score`` float32 [n] or [n, k]; same bytes each time."""
        ...

    def native(self) -> dict[str, bytes]:
        """Files from which reasons are computed, by name: ``lightgbm.txt`` or ``linear.json``."""
        ...

    def importance(self) -> np.ndarray:
        """Float64 (d,), not negative: how much each matrix column contributes, in the learner's own measure."""
        ...


@runtime_checkable
class Learner(Protocol):
    """Makes models from a float32 matrix. Stateless: the same arguments give a byte-identical model.

    Attributes
    ----------
    name
        Word of ``train.learners`` in the specification.
    tasks
        ``binary``, ``multiclass``, ``regression``.
    monotone
        Whether it keeps the promise of monotone constraints.
    losses
        Words of ``train.loss`` that it knows; other than ``squared`` it finds in its parameters, as ``loss``.
    """

    name: str
    tasks: frozenset[str]
    monotone: bool
    losses: frozenset[str]

    def suggest(self, space: Space, task: str) -> dict[str, Any]:
        """Draw parameters from ``space``."""
        ...

    def defaults(self, task: str) -> dict[str, Any]:
        """Parameters to try first; each lies in the space that `suggest` draws from."""
        ...

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        *,
        weight: np.ndarray | None,
        params: Params,
        seed: int,
        monotone: Sequence[int],
        task: str,
        validation: Validation | None = None,
        memo: dict[str, Any] | None = None,
    ) -> Fitted:
        """Fit on float32 ``X`` (n, d) and ``y`` (n,): 0/1, class codes 0..k-1, or numbers.

        ``monotone`` holds -1, 0 or 1 per column. ``memo`` belongs to exactly these rows: what a learner leaves
        there (binned data, say) it finds again at its next fit on them.
        """
        ...

    def settle(self, fold_params: Sequence[Params], growth: float) -> dict[str, Any]:
        """Parameters for a fit without validation rows, from those in force in each fold.

        ``growth`` >= 1 is how many times more rows the fit will see than a fold did.
        """
        ...


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What is written down about one run.

    Attributes
    ----------
    name
        Shown in the tracking server's list.
    params, tags
        Words by name.
    metrics
        Numbers by name; NaN and infinities are left out by the tracker.
    series
        Metric name to values by step.
    documents
        File name to plain JSON data: curves, confusion matrix, environment.
    started_at_ms, ended_at_ms
        Milliseconds since 1970 in UTC; 0 means now.
    children
        Runs within this one, one per candidate.
    """

    name: str
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    documents: Mapping[str, Any] = field(default_factory=dict)
    started_at_ms: int = 0
    ended_at_ms: int = 0
    children: tuple[RunRecord, ...] = ()


class Tracker(Protocol):
    """Writes runs down where people compare them."""

    def record(self, run: RunRecord) -> str:
        """Write a run with its children; return its identifier, empty when nothing is kept."""
        ...


class NoTracker:
    """Keeps nothing."""

    def record(self, run: RunRecord) -> str:
        """Return the empty identifier."""
        return ""
