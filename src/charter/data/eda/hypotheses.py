"""Tests by type: of columns against the target, and of normality; with effect sizes and false discovery control."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from charter.data.discovery import benjamini_hochberg
from charter.data.eda.associations import chi_square_of, contingency, cramers_v
from charter.data.eda.prepare import Floats, Integers, Prepared
from charter.data.eda.types import TargetView, TestResult

SHAPIRO_ROWS = 5000
"""Royston's approximation of the p-value holds up to here (1995); evenly spaced rows of more are tested."""
_LEAST = 3


def test_columns(
    columns: Sequence[Prepared], target: Prepared | None, view: TargetView | None
) -> tuple[TestResult, ...]:
    """Test each column against the target, and numbers for normality.

    Binary target: Welch's t and Kolmogorov-Smirnov for numbers, chi-square for categories. Several classes: one-way
    ANOVA and chi-square. A number as the target: Pearson for numbers, ANOVA over the categories.
    """
    found: list[TestResult] = []
    for column in columns:
        if target is not None and view is not None and column.name != target.name:
            found += _against(column, target, view)
        if column.numeric:
            found += _normality(column)
    adjusted = benjamini_hochberg([np.nan if t.p_value is None else t.p_value for t in found])
    return tuple(
        replace(t, q_value=None if np.isnan(q) else float(q)) for t, q in zip(found, adjusted, strict=True)
    )


def _against(column: Prepared, target: Prepared, view: TargetView) -> Iterator[TestResult]:
    if view.kind == "number":
        if column.numeric and column.values is not None and target.values is not None:
            yield pearson(column.name, column.values, target.values)
        elif column.codes is not None and column.kind == "categorical" and target.values is not None:
            yield anova(column.name, target.values, column.codes)
        return
    if target.codes is None:
        return
    if column.numeric and column.values is not None:
        if view.kind == "binary":
            yield welch_t(column.name, column.values, target.codes)
            yield kolmogorov_smirnov(column.name, column.values, target.codes)
        else:
            yield anova(column.name, column.values, target.codes)
    elif column.codes is not None and column.kind == "categorical":
        yield chi_square(column.name, contingency(column.codes, target.codes))


def welch_t(name: str, values: Floats, codes: Integers) -> TestResult:
    """Welch's t-test of two groups, with Cohen's d (difference of means in pooled standard deviations)."""
    from scipy.special import stdtr

    sides = [_scaled(values)[(codes == k) & np.isfinite(values)] for k in (0, 1)]
    n = [len(s) for s in sides]
    if min(n) < 2:
        return TestResult(name, "welch t", None, None, None, "d", None, sum(n))
    with np.errstate(all="ignore"):
        means, spreads = [float(s.mean()) for s in sides], [float(s.std(ddof=1)) for s in sides]
        errors = [s * s / k for s, k in zip(spreads, n, strict=True)]
        t = (means[1] - means[0]) / sum(errors) ** 0.5 if sum(errors) > 0 else np.nan
        squares = sum(e * e / (k - 1) for e, k in zip(errors, n, strict=True))
        freedom = sum(errors) ** 2 / squares if squares > 0 else np.nan
        p = float(2 * stdtr(freedom, -abs(t)))
        pooled = (((n[0] - 1) * spreads[0] ** 2 + (n[1] - 1) * spreads[1] ** 2) / (sum(n) - 2)) ** 0.5
        d = (means[1] - means[0]) / pooled if pooled > 0 else np.nan
    return _result(name, "welch t", t, p, "d", d, sum(n))


def kolmogorov_smirnov(name: str, values: Floats, codes: Integers) -> TestResult:
    """Two-sample Kolmogorov-Smirnov test, p-value by the limit distribution."""
    from scipy.special import kolmogorov

    from charter.data.distance import ks_of_values

    a, b = (np.sort(values[(codes == k) & np.isfinite(values)]) for k in (0, 1))
    if not len(a) or not len(b):
        return TestResult(name, "kolmogorov-smirnov", None, None, None, "D", None, len(a) + len(b))
    d = ks_of_values(*((a, b) if len(b) <= len(a) else (b, a)))
    p = float(kolmogorov(d * np.sqrt(len(a) * len(b) / (len(a) + len(b)))))
    return _result(name, "kolmogorov-smirnov", d, p, "D", d, len(a) + len(b))


def anova(name: str, values: Floats, codes: Integers) -> TestResult:
    """One-way analysis of variance, with the share of variance that the groups explain."""
    from scipy.special import fdtrc

    known = np.isfinite(values) & (codes >= 0)
    y, g = _scaled(values)[known], codes[known]
    sizes = np.bincount(g) if len(g) else np.zeros(0)
    groups, n = int((sizes > 0).sum()), len(y)
    if groups < 2 or n <= groups:
        return TestResult(name, "anova", None, None, None, "eta2", None, n)
    with np.errstate(all="ignore"):
        y = y - y.mean()
        means = np.bincount(g, weights=y)[sizes > 0] / sizes[sizes > 0]
        between, total = float((sizes[sizes > 0] * means**2).sum()), float((y**2).sum())
        within = total - between
        f = (between / (groups - 1)) / (within / (n - groups)) if within > 0 else np.inf
        p = float(fdtrc(groups - 1, n - groups, f)) if np.isfinite(f) else 0.0
        eta2 = between / total if total > 0 else np.nan
    return _result(name, "anova", f, p if total > 0 else np.nan, "eta2", eta2, n)


def chi_square(name: str, table: Floats) -> TestResult:
    """Pearson's test of independence, with Cramer's V."""
    from scipy.special import chdtrc

    n = int(table.sum())
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    if min(table.shape) < 2:
        return TestResult(name, "chi-square", None, None, None, "V", None, n)
    statistic = chi_square_of(table)
    return _result(name, "chi-square", statistic, float(chdtrc(freedom, statistic)), "V", cramers_v(table), n)


def pearson(name: str, x: Floats, y: Floats) -> TestResult:
    """Pearson's correlation and its test against 0."""
    from scipy.special import stdtr

    from charter.data.eda.associations import correlations

    known = np.isfinite(x) & np.isfinite(y)
    n, r = int(known.sum()), float(correlations([x, y])[0, 1])
    if n < _LEAST or not np.isfinite(r):
        return TestResult(name, "pearson", None, None, None, "r", None, n)
    with np.errstate(divide="ignore"):
        t = r * np.sqrt((n - 2) / (1 - r * r)) if abs(r) < 1 else np.inf
    return _result(name, "pearson", t, float(2 * stdtr(n - 2, -abs(t))), "r", r, n)


def _normality(column: Prepared) -> Iterator[TestResult]:
    from scipy.stats import shapiro

    assert column.values is not None
    values = _scaled(column.values[np.isfinite(column.values)])
    values = values[:: max(1, -(-len(values) // SHAPIRO_ROWS))]
    if len(values) < _LEAST or np.ptp(values) == 0:
        return
    with np.errstate(all="ignore"):
        scaled = (values - np.median(values)) / np.ptp(values)
        statistic, p = shapiro(scaled)
    yield _result(column.name, "shapiro-wilk", statistic, p, "W", statistic, len(values))


def _scaled(values: Floats) -> Floats:
    """Divide by the largest value, which changes no test here, so that squares neither overflow nor vanish."""
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    return values / largest if largest else values


def _result(
    name: str, test: str, statistic: float, p: float, effect_name: str, effect: float | None, n: int
) -> TestResult:
    return TestResult(name, test, _number(statistic), _number(p), None, effect_name, _number(effect), n)


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
