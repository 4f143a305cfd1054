r"""Price elasticities: by how many per cent demand moves when the price moves by one.

Within each group (a brand), over series i (its stores) and periods t,

.. math:: \log q_{it} = \beta \log p_{it} + \gamma' x_{it} + \alpha_i + \epsilon_{it},

with the promotions x and a level of its own for each series. Standard errors are clustered by store, whose weeks are
not independent: the sandwich with the small-sample factor :math:`\frac{G}{G-1} \frac{N-1}{N-K}` and t with G - 1
degrees of freedom (Cameron & Miller, "A practitioner's guide to cluster-robust inference", J. Human Resources 50,
2015).

An elasticity read off sales is causal only where prices were not set in answer to demand. Where they were cut when
demand was expected to be high, it is too large in absolute value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from charter.core.errors import DataError
from charter.evaluate.hierarchy import SERIES
from charter.evaluate.types import Floats, Integers

_MIN_CLUSTERS = 10


@dataclass(frozen=True, slots=True)
class Elasticity:
    """One group's price elasticity.

    Attributes
    ----------
    value
        Per cent of demand per per cent of price; None where the price hardly moves or series are too short.
    error
        Standard error, clustered.
    low, high
        Confidence interval; None below 10 clusters, where clustered errors are too small.
    model
        The same read off the model's forecasts under a price 10 % higher and 10 % lower; None without a model.
    rows, clusters
        What it rests on.
    """

    group: str
    value: float | None
    error: float | None
    low: float | None
    high: float | None
    model: float | None
    rows: int
    clusters: int
    note: str = ""


def elasticities(
    history: pl.DataFrame,
    *,
    by: str,
    price: str,
    cluster: str,
    controls: Sequence[str] = (),
    model: dict[str, float] | None = None,
    confidence: float = 0.95,
) -> list[Elasticity]:
    """Estimate the elasticity of each group.

    Parameters
    ----------
    history
        ``series``, ``actual`` (units), and the columns below; rows with units or price not above 0, or a control
        missing, are left out.
    by
        Column of the groups.
    price
        Column of the price, in money per unit.
    cluster
        Column whose rows are not independent, such as the store.
    controls
        Further regressors, numbers or truth values.
    model
        The model's own elasticity of each group, by its name, for the table.

    Returns
    -------
    One per group, sorted by the group.

    Raises
    ------
    DataError
        When no row is left.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = np.exp(rng.normal(0, 0.2, 2000))
    >>> i = np.arange(2000) % 20
    >>> frame = pl.DataFrame({"series": i, "store": i, "brand": 1, "price": p,
    ...                       "actual": 100 * p**-2.5 * np.exp(rng.normal(0, 0.1, 2000))})
    >>> found = elasticities(frame, by="brand", price="price", cluster="store")[0]
    >>> round(found.value, 1), found.low < -2.5 < found.high
    (-2.5, True)
    """
    needed = [price, *controls]
    usable = history.filter(
        (pl.col("actual") > 0) & (pl.col(price) > 0),
        *(pl.col(c).is_not_null() for c in (by, cluster, *needed)),
    ).sort(by, SERIES)
    if usable.is_empty():
        raise DataError(f"elasticity: no row has units, {price} and {', '.join(controls) or 'a series'}")
    parts = usable.partition_by(by, maintain_order=True)
    return [
        _of(str(part[by][0]), part, price, cluster, controls, (model or {}).get(str(part[by][0])), confidence)
        for part in parts
    ]


def _of(
    group: str,
    rows: pl.DataFrame,
    price: str,
    cluster: str,
    controls: Sequence[str],
    model: float | None,
    confidence: float,
) -> Elasticity:
    from scipy.stats import t as student

    series, clusters = (_codes(rows[column]) for column in (SERIES, cluster))
    y = _within(np.log(rows["actual"].to_numpy().astype(np.float64)), series)
    columns = [np.log(rows[price].to_numpy().astype(np.float64))]
    columns += [rows[c].cast(pl.Float64).to_numpy().astype(np.float64) for c in controls]
    X = np.column_stack([_within(column, series) for column in columns])
    X = X[:, np.r_[True, X[:, 1:].std(axis=0) > 1e-12]]
    g, n = int(clusters.max()) + 1, len(y)

    def nothing(note: str) -> Elasticity:
        return Elasticity(group, None, None, None, None, model, n, g, note)

    if X[:, 0].std() < 1e-6:
        return nothing("the price never moves within a series")
    if n <= X.shape[1] + len(np.unique(series)) or np.linalg.matrix_rank(X) < X.shape[1]:
        return nothing("the price moves with a promotion only, so their effects cannot be told apart")
    if g < 2:
        return nothing(f"one {cluster} is too few")
    bread = np.linalg.inv(X.T @ X)
    beta = bread @ X.T @ y
    scores = X * (y - X @ beta)[:, None]
    sums = np.stack([np.bincount(clusters, column, minlength=g) for column in scores.T], axis=1)
    covariance = bread @ (sums.T @ sums) @ bread * (g / (g - 1)) * ((n - 1) / (n - X.shape[1]))
    value, error = float(beta[0]), float(np.sqrt(covariance[0, 0]))
    if g < _MIN_CLUSTERS:
        return Elasticity(
            group, value, error, None, None, model, n, g, f"{g} clusters are too few for an interval"
        )
    reach = float(student.ppf(0.5 + confidence / 2, g - 1)) * error
    return Elasticity(group, value, error, value - reach, value + reach, model, n, g)


def model_elasticity(
    raised: pl.DataFrame, lowered: pl.DataFrame, *, by: str, ratio: float
) -> dict[str, float]:
    r"""Read elasticities off a model: :math:`\log(Q_+ / Q_-) / \log(ratio)`, Q the groups' summed forecasts.

    Parameters
    ----------
    raised, lowered
        Forecasts of the same rows under a higher and a lower price: ``by`` and ``forecast``.
    ratio
        The higher price over the lower, above 1.
    """
    sums = [dict(frame.group_by(by).agg(pl.col("forecast").sum()).iter_rows()) for frame in (raised, lowered)]
    return {
        str(group): float(np.log(high / sums[1][group]) / np.log(ratio))
        for group, high in sums[0].items()
        if high > 0 and sums[1].get(group, 0) > 0
    }


def _codes(column: pl.Series) -> Integers:
    return column.cast(pl.String).rank("dense").to_numpy().astype(np.int64) - 1


def _within(values: Floats, series: Integers) -> Floats:
    """Deviations from the series' mean."""
    count = np.bincount(series)
    found: Floats = values - (np.bincount(series, values) / count)[series]
    return found
