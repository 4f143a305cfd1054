"""Rare classes: weights, and resampling of training folds. Validation and test rows are never touched.

Every remedy but threshold moving biases the raw score towards the rare class; ``train.calibrate`` undoes that, because
it is fitted on out-of-fold rows in their natural proportion.
"""

from __future__ import annotations

import numpy as np

from charter.core.errors import DataError, UsageError

NEIGHBOURS = 5
"""Nearest rows of the rare class between which SMOTE interpolates."""


def class_weights(y: np.ndarray) -> np.ndarray:
    """Weights under which every class counts alike: ``n / (k x n_c)`` for a row of class ``c``.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Class codes.

    Returns
    -------
    ndarray of float64, shape (n,)
        Sums to ``n``.

    Examples
    --------
    >>> class_weights(np.array([0, 0, 0, 1])).tolist()
    [0.6666666666666666, 0.6666666666666666, 0.6666666666666666, 2.0]
    """
    _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    weights: np.ndarray = (len(y) / (len(counts) * counts.astype(np.float64)))[codes]
    return weights


def group_weights(groups: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights under which the label does not depend on the group: ``P(g) P(y) / P(g, y)`` for group g and label y.

    Parameters
    ----------
    groups : ndarray, shape (n,)
        Group codes; with several attributes one code per combination.
    y : ndarray, shape (n,)
        Class codes.

    Returns
    -------
    ndarray of float64, shape (n,)
        Sums to ``n`` where every group has every label.

    References
    ----------
    Kamiran, F. & Calders, T. (2012). Data preprocessing techniques for classification without discrimination.
    Knowledge and Information Systems 33, 1-33.

    Examples
    --------
    >>> group_weights(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])).round(2).tolist()
    [0.75, 0.75, 1.5, 0.5]
    """
    _, g, of_group = np.unique(groups, return_inverse=True, return_counts=True)
    _, c, of_class = np.unique(y, return_inverse=True, return_counts=True)
    together = np.zeros((len(of_group), len(of_class)))
    np.add.at(together, (g, c), 1.0)
    weights: np.ndarray = of_group[g].astype(np.float64) * of_class[c] / (len(y) * together[g, c])
    return weights


def balance(
    X: np.ndarray, y: np.ndarray, kind: str, *, seed: int, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Apply ``train.imbalance`` to the training rows of one fold.

    Parameters
    ----------
    X : ndarray of float32, shape (n, d)
    y : ndarray, shape (n,)
        Class codes.
    kind
        ``none``, ``class_weight``, ``over_sample``, ``under_sample`` or ``smote``.
    seed
        Of the draw; equal seeds give equal rows.
    groups : ndarray, shape (n,), or None
        ``train.reweigh``: group codes; only with ``none`` and ``class_weight``, which keep the rows.

    Returns
    -------
    X, y, weight
        Rows to fit on; ``weight`` is None unless rows are weighted.

    Raises
    ------
    DataError
        When SMOTE finds fewer than two rows of a class.
    """
    fair = None if groups is None else group_weights(groups, y)
    if kind == "none":
        return X, y, fair
    if kind == "class_weight":
        return X, y, class_weights(y) if fair is None else class_weights(y) * fair
    if fair is not None:
        raise UsageError(
            f"train.reweigh: imbalance {kind!r} draws rows anew", remedy="Use none or class_weight."
        )
    if kind in ("over_sample", "under_sample"):
        rows = _draw(y, np.random.default_rng(seed), over=kind == "over_sample")
        return np.ascontiguousarray(X[rows]), y[rows], None
    if kind == "smote":
        X, y = _smote(X, y, seed)
        return X, y, None
    raise UsageError(f"train.imbalance: {kind!r} is not known")


def _draw(y: np.ndarray, rng: np.random.Generator, *, over: bool) -> np.ndarray:
    """Row numbers, sorted, such that every class has as many rows as the largest (or the smallest) one."""
    classes, counts = np.unique(y, return_counts=True)
    wanted = counts.max() if over else counts.min()
    chosen = []
    for c, count in zip(classes, counts, strict=True):
        own = np.flatnonzero(y == c)
        if over:
            chosen += [own, rng.choice(own, size=wanted - count, replace=True)]
        else:
            chosen.append(rng.choice(own, size=wanted, replace=False))
    return np.sort(np.concatenate(chosen))


def _smote(X: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """SMOTE (Chawla et al., 2002, "SMOTE: Synthetic Minority Over-sampling Technique"), by imbalanced-learn.

    Neighbours are sought among standardised columns with medians in place of what is missing or infinite; original
    rows come back as they were. An invented row has fractions in its one-hot columns.
    """
    from imblearn.over_sampling import SMOTE

    classes, counts = np.unique(y, return_counts=True)
    if counts.min() < 2:
        raise DataError(
            f"train.imbalance: smote needs two rows of each class, class {classes[counts.argmin()]} has"
            f" {counts.min()} in a fold",
            remedy="Use class_weight, or fewer folds.",
        )
    wide = X.astype(np.float64)
    finite = np.isfinite(wide)
    fill = np.array(
        [np.median(wide[known, j]) if (known := finite[:, j]).any() else 0.0 for j in range(X.shape[1])]
    )
    wide = np.where(finite, wide, fill)
    mean, scale = wide.mean(axis=0), wide.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    sampler = SMOTE(k_neighbors=int(min(NEIGHBOURS, counts.min() - 1)), random_state=seed)
    Z, labels = sampler.fit_resample((wide - mean) / scale, y)
    invented = (Z[len(X) :] * scale + mean).astype(np.float32)
    return np.ascontiguousarray(np.vstack([X, invented])), labels
