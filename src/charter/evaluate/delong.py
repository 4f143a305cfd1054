"""ROC AUC as a two-sample U-statistic: DeLong's covariance, in O(n log n), with clusters if there are any."""

from __future__ import annotations

import numpy as np

from charter.evaluate.types import Floats, Integers


def auc_covariance(y: Floats, scores: Floats, cluster: Integers | None = None) -> tuple[Floats, Floats]:
    """Measure the ROC AUC of several scores on the same rows, and their covariance.

    Parameters
    ----------
    y
        Shape (n,), 0 or 1, both present.
    scores
        Shape (k, n).
    cluster
        Shape (n,): number of the entity of each row, where entities repeat.

    Returns
    -------
    auc : ndarray, shape (k,)
    covariance : ndarray, shape (k, k)
        NaN where a class has fewer than two rows (or there is one cluster only).

    Notes
    -----
    With placements ``V10`` of the m positives (share of negatives below, ties half) and ``V01`` of the n negatives,
    ``cov = cov(V10) / m + cov(V01) / n`` (DeLong, DeLong and Clarke-Pearson, 1988), computed from midranks (Sun and
    Xu, 2014). With clusters the placements' deviations are summed within clusters first (Obuchowski, 1997).
    Asymptotic: trust it from about 30 positives and 30 negatives (or as many clusters) on.

    Examples
    --------
    >>> auc, covariance = auc_covariance(np.array([0, 0, 1, 1]), np.array([[0.1, 0.4, 0.4, 0.8]]))
    >>> auc.tolist(), covariance.round(4).tolist()
    ([0.875], [[0.0312]])
    """
    from scipy.stats import rankdata

    y, scores = np.asarray(y, dtype=np.float64), np.atleast_2d(scores)
    positive = y > 0
    m, n = int(positive.sum()), int((~positive).sum())
    every = rankdata(scores, axis=1)
    v10 = (every[:, positive] - rankdata(scores[:, positive], axis=1)) / n
    v01 = 1 - (every[:, ~positive] - rankdata(scores[:, ~positive], axis=1)) / m
    auc = v10.mean(axis=1)
    if cluster is not None:
        deviation = np.zeros_like(scores, dtype=np.float64)
        deviation[:, positive] = (v10 - auc[:, None]) / m
        deviation[:, ~positive] = (v01 - auc[:, None]) / n
        clusters = int(cluster.max()) + 1
        sums = np.array([np.bincount(cluster, row, clusters) for row in deviation], dtype=np.float64)
        present = np.bincount(cluster, minlength=clusters) > 0
        count = int(present.sum())
        factor = count / (count - 1) if count > 1 else np.nan
        return auc, factor * _products(sums)
    if min(m, n) < 2:
        return auc, np.full((len(scores), len(scores)), np.nan)
    by_positive = _products(v10 - auc[:, None]) / (m - 1) / m
    by_negative = _products(v01 - auc[:, None]) / (n - 1) / n
    return auc, by_positive + by_negative


def _products(rows: Floats) -> Floats:
    # Not `@`: results are digested, and the linear-algebra library's order of addition depends on its threads.
    return np.asarray(np.einsum("in,jn->ij", rows, rows, optimize=False), dtype=np.float64)
