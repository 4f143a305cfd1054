"""Several comparisons at once: arms with one control (Dunnett), segments (Benjamini and Hochberg)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charter.evaluate.types import Floats
from charter.iterate.boundary import fixed_boundary

_NODES = 64


def dunnett_tail(z: float, loadings: Sequence[float]) -> float:
    """Chance that any of several comparisons with one control is ``z`` standard errors off by chance alone.

    Parameters
    ----------
    z
        Not negative.
    loadings
        Of each comparison ``sqrt(v0 / (v0 + v))``, with v0 the variance of the control's estimate and v that of the
        arm's: comparisons i and j are correlated by the product of theirs.

    Notes
    -----
    ``1 - E prod_i [Phi((z - l_i U) / s_i) - Phi((-z - l_i U) / s_i)]`` with ``s_i^2 = 1 - l_i^2`` and U standard
    normal (Dunnett, 1955), by Gauss-Hermite quadrature. Normal theory: from some hundred units in each arm on.

    Examples
    --------
    >>> round(dunnett_tail(2.2121, [0.5**0.5] * 2), 4)
    0.05
    """
    from scipy.special import ndtr

    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    own = np.asarray(loadings, dtype=np.float64)[:, None]
    # A control far larger or smaller than the arm takes the correlation to 0 or 1; there stay finite.
    rest = np.sqrt(np.maximum(1 - own**2, 1e-9))
    inside = ndtr((z - own * nodes) / rest) - ndtr((-z - own * nodes) / rest)
    return float(np.clip(1 - (weights * inside.prod(axis=0)).sum() / weights.sum(), 0.0, 1.0))


def dunnett_boundary(alpha: float, loadings: Sequence[float]) -> float:
    """Standard errors that each comparison must overcome so that all together are wrong with probability alpha.

    Examples
    --------
    >>> [round(dunnett_boundary(0.05, [0.5**0.5] * k), 2) for k in (1, 2, 3, 5)]
    [1.96, 2.21, 2.35, 2.51]
    """
    from scipy.optimize import brentq

    if len(loadings) == 1:
        return fixed_boundary(alpha)
    least, most = fixed_boundary(alpha), fixed_boundary(alpha / len(loadings))  # Bonferroni is the worst case
    return float(brentq(lambda z: dunnett_tail(z, loadings) - alpha, least, most + 1e-6, xtol=1e-10))


def benjamini_hochberg(p_values: Sequence[float]) -> Floats:
    """Correct p-values so that of those below q at most a share q is expected to be chance.

    Notes
    -----
    Benjamini and Hochberg (1995): the i-th smallest of m times m / i, never falling. Holds for independent and for
    positively dependent tests.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03, 0.5]).round(4).tolist()
    [0.04, 0.0533, 0.0533, 0.5]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(-p)
    rank = np.arange(len(p), 0, -1)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.minimum.accumulate(p[order] * len(p) / rank), 1.0)
    return corrected
