"""How much columns have to do with each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from charter.data.eda.prepare import Floats, Integers, Prepared
from charter.data.eda.types import Pair

CODED_ROWS = 50_000
"""Rows that mutual information and Cramer's V rest on; evenly spaced ones of more."""
MOST_COLUMNS = 120
"""Pairs of more columns than this are not looked at, except with the target."""


def associate(columns: Sequence[Prepared], target: str | None) -> tuple[Pair, ...]:
    """Measure every pair of columns; of very many columns the pairs with the target alone.

    Returns
    -------
    Pairs in the order of the columns.
    """
    usable = [c for c in columns if c.codes is not None and len(np.unique(c.codes[c.codes >= 0])) > 1]
    numbers = [c for c in usable if c.ranks is not None]
    place = {c.name: i for i, c in enumerate(numbers)}
    pearson = correlations([c.values for c in numbers if c.values is not None])
    spearman = correlations([c.ranks for c in numbers if c.ranks is not None])
    step = max(1, -(-len(usable[0].codes) // CODED_ROWS)) if usable and usable[0].codes is not None else 1
    coded = {c.name: c.codes[::step] for c in usable if c.codes is not None}
    found = []
    for a, b in combinations(usable, 2):
        if len(usable) > MOST_COLUMNS and target not in (a.name, b.name):
            continue
        both = a.name in place and b.name in place
        at = (place.get(a.name, 0), place.get(b.name, 0))
        table = contingency(coded[a.name], coded[b.name])
        categories = a.kind == b.kind == "categorical"
        found.append(
            Pair(
                a.name,
                b.name,
                _finite(pearson[at]) if both else None,
                _finite(spearman[at]) if both else None,
                cramers_v(table) if categories else None,
                information(table),
            )
        )
    return tuple(found)


def correlations(columns: Sequence[Floats]) -> Floats:
    """Correlate columns pairwise over the rows that have both, as ``pandas.DataFrame.corr``.

    Of ranks this is Spearman's coefficient; where values are missing, ranks remain those among all values of a column.

    Returns
    -------
    ndarray, shape (columns, columns)
        NaN where a column is constant or fewer than three rows have both.

    Examples
    --------
    >>> x = np.array([1.0, 2.0, 3.0, np.nan])
    >>> correlations([x, -x]).round(12).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    if not columns:
        return np.empty((0, 0))
    n = len(columns[0])
    X = np.empty((len(columns), n))
    there = np.empty((len(columns), n), dtype=bool)
    with np.errstate(all="ignore"):
        for i, column in enumerate(columns):
            there[i] = np.isfinite(column)
            kept = column[there[i]]
            # Scaled by the largest deviation, so that squares neither overflow nor vanish.
            middle = float((kept / max(len(kept), 1)).sum())
            X[i] = np.where(there[i], column - middle, 0.0)
            largest = float(np.abs(X[i]).max(initial=0.0))
            if 0 < largest < np.inf:
                X[i] /= largest
        products = X @ X.T
        if there.all():
            sums = X.sum(axis=1)
            both = np.full(products.shape, float(n))
            sa, qa = np.broadcast_to(sums[:, None], products.shape), np.diag(products)[:, None]
            sb, qb = sa.T, qa.T
        else:
            mask = there.astype(np.float64)
            both = mask @ mask.T
            sa, qa = X @ mask.T, (X * X) @ mask.T
            sb, qb = sa.T, qa.T
        covariance = products - sa * sb / both
        variance_a, variance_b = qa - sa * sa / both, qb - sb * sb / both
        tiny = 1e-13 * np.maximum(qa, 1e-300)
        defined = (both >= 3) & (variance_a > tiny) & (variance_b > tiny.T)
        return np.where(defined, np.clip(covariance / np.sqrt(variance_a * variance_b), -1, 1), np.nan)


def contingency(a: Integers, b: Integers) -> Floats:
    """Count rows by both codes; rows without one are left out, as are codes without rows."""
    known = (a >= 0) & (b >= 0)
    if not known.all():
        a, b = a[known], b[known]
    if not len(a):
        return np.zeros((0, 0))
    width = int(b.max()) + 1
    table = np.bincount(a * width + b, minlength=(int(a.max()) + 1) * width).reshape(-1, width)
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    return np.asarray(table, dtype=np.float64)


def cramers_v(table: Floats) -> float | None:
    """Cramer's V corrected for its bias (Bergsma, 2013), 0 for independence and 1 for dependence.

    Examples
    --------
    >>> cramers_v(np.array([[30.0, 0.0], [0.0, 30.0]]))
    1.0
    """
    rows, columns = table.shape
    n = table.sum()
    if min(rows, columns) < 2 or n < 2:
        return None
    phi2 = chi_square_of(table) / n
    corrected = max(phi2 - (rows - 1) * (columns - 1) / (n - 1), 0.0)
    r, c = rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)
    least = min(r, c) - 1
    return min(float(np.sqrt(corrected / least)), 1.0) if least > 0 else None


def chi_square_of(table: Floats) -> float:
    """Pearson's statistic of independence."""
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    return float(((table - expected) ** 2 / expected).sum())


def mutual_information(table: Floats) -> float:
    """Mutual information of the two codes in nats, as it is in the table.

    Examples
    --------
    >>> round(mutual_information(np.array([[1.0, 0.0], [0.0, 1.0]])), 4)
    0.6931
    """
    n = table.sum()
    if not n:
        return 0.0
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / n
    some = table > 0
    return max(float((table[some] * np.log(table[some] / expected[some])).sum() / n), 0.0)


def information(table: Floats) -> float | None:
    """Mutual information less its bias ``(r - 1)(c - 1) / 2n`` (Miller, 1955), as a coefficient between 0 and 1."""
    rows, columns = table.shape
    if min(rows, columns) < 2:
        return None
    corrected = max(mutual_information(table) - (rows - 1) * (columns - 1) / (2 * table.sum()), 0.0)
    return float(np.sqrt(1 - np.exp(-2 * corrected)))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
