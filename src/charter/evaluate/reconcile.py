r"""Forecasts that add up: MinTrace reconciliation.

With base forecasts :math:`\hat a` of the sums and :math:`\hat b` of the series, C the matrix of the sums and W the
covariance of the base forecasts' errors, the reconciled series are

.. math:: \tilde b = \hat b - J W U (U' W U)^{-1} U' \hat y, \qquad U' = [I, -C], \quad J = [0, I],

(Wickramasuriya, Athanasopoulos & Hyndman, "Optimal forecast reconciliation ... through trace minimization", JASA 114,
2019), and the reconciled sums are their sums. Estimates of W:

- ``wls_struct``: diagonal, the number of series in a node.
- ``wls_var``: diagonal, the mean squared error of each node's base forecasts.
- ``mint_shrink``: the errors' covariance, shrunk towards its diagonal (Schäfer & Strimmer, 2005).

W is never written out: it is a diagonal plus a product of the few error vectors that it was estimated from, so time and
memory grow with the number of series, not its square; only a matrix of the *aggregated* nodes is solved (1,000 nodes:
8 MB). The tests compare with ``hierarchicalforecast``, which needs a dense matrix of all nodes for ``mint_shrink``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from charter.evaluate.hierarchy import Hierarchy
from charter.evaluate.types import Floats

Method = Literal["bottom_up", "wls_struct", "wls_var", "mint_shrink"]
_RIDGE = 2e-8
"""Keeps a node without any error from counting as certain; as in ``hierarchicalforecast``."""


@dataclass(frozen=True, slots=True)
class Covariance:
    """Errors of base forecasts: W = diag(diagonal) + factors' factors.

    Attributes
    ----------
    diagonal
        Shape (m + n,), positive: nodes, then series.
    factors
        Shape (k, m + n).
    shrinkage
        Weight of the diagonal target, 0..1; 1 where W is diagonal.
    """

    diagonal: Floats
    factors: Floats
    shrinkage: float = 1.0


def structural(hierarchy: Hierarchy) -> Covariance:
    """Errors that are independent and equal for all series: variance of a node = its number of series."""
    ones = np.ones((hierarchy.n_series, 1))
    return _diagonal(np.concatenate([hierarchy.sums(ones), ones])[:, 0])


def variances(errors: Floats) -> Covariance:
    """Mean squared errors, node by node.

    Parameters
    ----------
    errors
        Shape (m + n, t): actual less base forecast at past moments; NaN where one is not known.
    """
    known = np.isfinite(errors)
    squares = np.where(known, errors, 0.0) ** 2
    return _diagonal(squares.sum(axis=1) / np.maximum(known.sum(axis=1), 1) + _RIDGE)


def shrunk(errors: Floats) -> Covariance:
    r"""Sample covariance, its correlations shrunk towards 0.

    The weight of the diagonal is
    :math:`\lambda = \sum_{i \ne j} \widehat{var}(r_{ij}) / \sum_{i \ne j} r_{ij}^2`, cut to 0..1 (Schäfer & Strimmer,
    "A shrinkage approach to large-scale covariance matrix estimation", Stat. Appl. Genet. Mol. Biol. 4, 2005).
    Both sums over pairs are had from products of t x t matrices.

    Parameters
    ----------
    errors
        Shape (m + n, t), t >= 2: actual less base forecast; one that is not known counts as the node's mean error.
    """
    known = np.isfinite(errors)
    filled = np.where(known, errors, 0.0)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    centred = np.where(known, filled - filled.sum(axis=1, keepdims=True) / count, 0.0)
    t = errors.shape[1]
    if t < 2:
        return variances(errors)
    z = centred / (np.sqrt((centred**2).mean(axis=1, keepdims=True)) + _RIDGE)
    gram = z.T @ z
    own = (z**2).mean(axis=1)
    squared = float((gram**2).sum()) / t**2 - float((own**2).sum())
    fourth = float(((z**2).sum(axis=0) ** 2).sum() - (z**4).sum())
    spread = fourth - t * squared
    weight = float(
        np.clip(spread / (t * (t - 1)) / (squared + 2 * _RIDGE), 0.0, 1.0)
    )  # each pair stands twice
    variance = np.maximum((centred**2).sum(axis=1) / (t - 1), _RIDGE)
    factors = centred.T * np.sqrt((1.0 - weight) / (t - 1))
    return Covariance(np.maximum(variance - (factors**2).sum(axis=0), weight * variance), factors, weight)


def estimate(method: Method, hierarchy: Hierarchy, errors: Floats) -> Covariance | None:
    """Estimate W from past errors; None for ``bottom_up``, which needs none."""
    match method:
        case "bottom_up":
            return None
        case "wls_struct":
            return structural(hierarchy)
        case "wls_var":
            return variances(errors)
        case "mint_shrink":
            return shrunk(errors)


def reconcile(
    hierarchy: Hierarchy, base: Floats, covariance: Covariance | None, *, nonnegative: bool = True
) -> Floats:
    """Make forecasts add up.

    Parameters
    ----------
    base
        Shape (m + n, t): base forecasts of the nodes, then of the series. A column may lack a series (NaN): it stays
        out, and the nodes' forecasts are taken to be of the others.
    covariance
        None adds the series up and leaves the nodes' forecasts unread.
    nonnegative
        Cut series at 0 before they are added up (Di Fonzo & Girolimetto, "Spatio-temporal reconciliation of solar
        forecasts", Solar Energy 251, 2023): coherent, and as good as the quadratic programme in their study.

    Returns
    -------
    Shape (m + n, t), coherent: the nodes are the sums of the series to rounding.
    """
    m = len(hierarchy.nodes)
    missing = np.isnan(base[m:])
    series = np.where(missing, 0.0, base[m:])
    if covariance is not None and base.shape[1]:
        series = series - _correction(hierarchy, base[:m] - hierarchy.sums(series), covariance)
    if nonnegative:
        series = np.maximum(series, 0.0)
    series = np.where(missing, 0.0, series)
    return np.concatenate([hierarchy.sums(series), np.where(missing, np.nan, series)])


def _correction(hierarchy: Hierarchy, gap: Floats, covariance: Covariance) -> Floats:
    """Work out J W U (U'WU)^-1 gap, shape (n, t), for ``gap`` of the nodes, shape (m, t)."""
    m = len(hierarchy.nodes)
    nodes, series = covariance.diagonal[:m], covariance.diagonal[m:]
    inner = hierarchy.products(series)
    inner[np.diag_indices(m)] += nodes
    across = covariance.factors[:, :m].T - hierarchy.sums(covariance.factors[:, m:].T)  # U' F', shape (m, k)
    inner += across @ across.T
    z: Floats = np.linalg.solve(inner, gap).astype(np.float64)
    found: Floats = covariance.factors[:, m:].T @ (across.T @ z) - series[:, None] * hierarchy.spread(z)
    return found


def _diagonal(values: Floats) -> Covariance:
    return Covariance(values, np.zeros((0, len(values))))


def gap(hierarchy: Hierarchy, values: Floats) -> float:
    """Largest absolute difference between a node and the sum of its series, over the largest value (at least 1)."""
    m = len(hierarchy.nodes)
    if not values.size:
        return 0.0
    differences = values[:m] - hierarchy.sums(np.nan_to_num(values[m:]))
    return float(np.abs(differences).max() / max(float(np.nanmax(np.abs(values))), 1.0))


def to_json(covariance: Covariance) -> dict[str, Any]:
    """Plain data."""
    return {
        "diagonal": covariance.diagonal.tolist(),
        "factors": covariance.factors.tolist(),
        "shrinkage": covariance.shrinkage,
    }


def from_json(data: dict[str, Any]) -> Covariance:
    """Inverse of `to_json`."""
    diagonal = np.asarray(data["diagonal"], dtype=np.float64)
    factors = np.asarray(data["factors"], dtype=np.float64).reshape(-1, len(diagonal))
    return Covariance(diagonal, factors, float(data["shrinkage"]))
