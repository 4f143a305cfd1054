"""False discovery control: of many tests, which differences are to be believed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def benjamini_hochberg(p_values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Adjust p-values so that calling those below q significant is wrong in at most a share q of the calls.

    ``min over j >= i of p_(j) m / j`` (Benjamini and Hochberg, 1995); holds for independent tests and for positively
    dependent ones (Benjamini and Yekutieli, 2001). When nothing has changed anywhere, the chance of a single call is at
    most q. NaN stays NaN and does not count as a test.

    Parameters
    ----------
    p_values
        Shape (tests,).

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.04, 0.04]
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    if not len(tested):
        return adjusted
    order = tested[np.argsort(p[tested], kind="stable")]
    raw = p[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(raw[::-1])[::-1], 1.0)
    return adjusted
