"""Can a classifier tell current rows from reference rows? Change of all columns together (adversarial validation)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.core.decision import Check, Verdict
from charter.evaluate.delong import auc_covariance
from charter.evaluate.proportion import normal_quantile

FOLDS = 5
MAX_ROWS = 10_000
"""Of each side; more rows make the interval narrower than anybody needs."""
_FEWEST = 100
_ROUNDS = 60


@dataclass(frozen=True, slots=True)
class DomainShift:
    """How well current rows can be told from reference rows.

    Attributes
    ----------
    auc, low, high
        Mean ROC AUC of the folds and its interval; 0.5 is no difference at all. None where the rows are too few.
    smallest_visible
        AUC that a sample of this size tells from 0.5 in four of five cases.
    columns
        What tells them apart, the strongest first, with its share of the trees' gain.
    """

    auc: float | None
    low: float | None
    high: float | None
    n_reference: int
    n_current: int
    smallest_visible: float | None
    columns: tuple[tuple[str, float], ...] = ()

    def check(self, limit: float) -> Check:
        """Judge: the rows have changed when the whole interval lies above 0.5 and the AUC above the limit."""
        required = f"a classifier tells current rows with AUC < {limit:g}"
        rows = f"{self.n_current:,} rows against {self.n_reference:,}"
        if self.auc is None or self.low is None or self.high is None:
            note = f"{rows}: too few, {_FEWEST} a side are needed"
            return Check("all columns together", "not measured", required, Verdict.UNKNOWN, note=note)
        observed = f"AUC {self.auc:.3f} [{self.low:.3f}, {self.high:.3f}]"
        shifted = self.low > 0.5 and self.auc >= limit
        notes = [rows, f"an AUC of {self.smallest_visible:.3f} would have been seen"]
        if shifted:
            notes.insert(
                0, "told by " + ", ".join(f"{name} ({share:.0%})" for name, share in self.columns[:3])
            )
        verdict = Verdict.FAIL if shifted else Verdict.PASS
        return Check("all columns together", observed, required, verdict, note="; ".join(notes))

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "auc": self.auc,
            "low": self.low,
            "high": self.high,
            "rows": {"reference": self.n_reference, "current": self.n_current},
            "smallest_visible": self.smallest_visible,
            "columns": [list(pair) for pair in self.columns],
        }


def domain_shift(
    reference: pl.DataFrame,
    current: pl.DataFrame,
    *,
    seed: int,
    ignore: Collection[str] = (),
    confidence: float = 0.95,
) -> DomainShift:
    """Train gradient-boosted trees to tell current rows from reference rows, and measure them on held-out folds.

    Parameters
    ----------
    reference, current
        The columns that both have are used, except moments, which tell the two apart by themselves.
    seed
        Of the sample (at most `MAX_ROWS` rows a side), the folds and the trees; the same seed gives the same numbers.

    Notes
    -----
    The AUC is the mean over five stratified folds; each fold's variance is DeLong's. Folds share training rows, so that
    the variance of their mean is ``(1 / 5 + 1 / 4)`` times a fold's (Nadeau and Bengio, 2003) and not a fifth; the
    interval errs on the side of caution. Trained on fewer rows than there are, the classifier errs towards 0.5.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> before = pl.DataFrame({"x": rng.normal(size=500), "y": rng.normal(size=500)})
    >>> after = pl.DataFrame({"x": rng.normal(size=500) + 2, "y": rng.normal(size=500)})
    >>> found = domain_shift(before, after, seed=0)
    >>> found.auc > 0.85, found.columns[0][0]
    (True, 'x')
    """
    rng = np.random.default_rng(seed)
    columns = [
        name
        for name, dtype in reference.schema.items()
        if name in current.columns and name not in ignore and _usable(dtype) and _usable(current.schema[name])
    ]
    sides = [_sampled(frame.select(columns), rng) for frame in (reference, current)]
    n, m = sides[0].height, sides[1].height
    if min(n, m) < _FEWEST or not columns:
        return DomainShift(None, None, None, n, m, None)
    X, categorical = _matrix(sides[0], sides[1], columns)
    y = np.repeat([0.0, 1.0], [n, m])
    fold = np.concatenate([rng.permutation(np.arange(side) % FOLDS) for side in (n, m)])
    areas, variances, gain = [], [], np.zeros(len(columns))
    for k in range(FOLDS):
        held = fold == k
        model = _fit(X[~held], y[~held], categorical, seed)
        score = np.asarray(model.predict(X[held], num_threads=1), dtype=np.float64)
        area, variance = auc_covariance(y[held], score[None, :])
        areas.append(float(area[0]))
        variances.append(float(variance[0, 0]))
        gain += model.feature_importance("gain")
    auc = float(np.mean(areas))
    factor = 1 / FOLDS + 1 / (FOLDS - 1)
    half = normal_quantile(0.5 + confidence / 2) * (factor * float(np.mean(variances))) ** 0.5
    visible = (
        0.5
        + (normal_quantile(0.5 + confidence / 2) + normal_quantile(0.8)) * ((n + m + 1) / (12 * n * m)) ** 0.5
    )
    shares = gain / gain.sum() if gain.sum() else gain
    told = sorted(zip(columns, shares.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    return DomainShift(auc, max(auc - half, 0.0), min(auc + half, 1.0), n, m, visible, tuple(told))


def _usable(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype in (pl.Boolean, pl.String, pl.Categorical, pl.Enum)


def _sampled(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    if frame.height <= MAX_ROWS:
        return frame
    return frame[np.sort(rng.choice(frame.height, MAX_ROWS, replace=False))]


def _matrix(
    a: pl.DataFrame, b: pl.DataFrame, columns: list[str]
) -> tuple[npt.NDArray[np.float64], list[int]]:
    X = np.empty((a.height + b.height, len(columns)))
    categorical = []
    for i, name in enumerate(columns):
        both = [a[name], b[name]]
        if all(s.dtype.is_numeric() or s.dtype == pl.Boolean for s in both):
            values = pl.concat([s.cast(pl.Float64) for s in both])
        else:
            texts = pl.concat([s.cast(pl.String) for s in both])
            # Rare values tell rows by heart; beyond the most frequent, all are one.
            frequent = texts.drop_nulls().value_counts(sort=True)[:, 0].head(200).sort()
            values = texts.replace_strict(
                frequent, range(1, len(frequent) + 1), default=0, return_dtype=pl.Float64
            )
            values = values.set(texts.is_null(), None)
            categorical.append(i)
        X[:, i] = values.to_numpy()
    return X, categorical


def _fit(X: Any, y: Any, categorical: list[int], seed: int) -> Any:
    import lightgbm

    rows = lightgbm.Dataset(X, y, categorical_feature=categorical, params={"verbose": -1})
    settings = {
        "objective": "binary",
        "num_leaves": 15,
        "learning_rate": 0.1,
        "min_data_in_leaf": 20,
        "feature_fraction": 0.8,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbose": -1,
    }
    return lightgbm.train(settings, rows, num_boost_round=_ROUNDS)
