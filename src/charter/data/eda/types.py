"""What an exploration found, as frozen data. An undefined number is None, so that JSON can say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from charter.core.digest import plain
from charter.data.profile import Profile

Severity = Literal["problem", "warning", "note"]
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a reader should know, in words.

    Attributes
    ----------
    severity
        ``problem``: would spoil a model; ``warning``: to be looked at; ``note``: good to know.
    topic
        ``missing``, ``constant``, ``duplicates``, ``key``, ``outliers``, ``skew``, ``balance``, ``time``,
        ``correlation``, ``leakage``, ``drift``, ``type`` or ``infinite``.
    columns
        What it is about; none for the table as a whole.
    """

    severity: Severity
    topic: str
    columns: tuple[str, ...]
    words: str


@dataclass(frozen=True, slots=True)
class ColumnView:
    """One column, described.

    Attributes
    ----------
    type
        The column's type in the table.
    distinct
        Number of distinct values: of numbers and moments in the rows looked at, else in all.
    quantiles
        Of numbers and moments, by share.
    skewness, excess_kurtosis
        Third and fourth standardised moments, of a normal distribution 0 each.
    outliers
        Values beyond three interquartile ranges of the quartiles (Tukey's far out), in the rows looked at.
    zeros
        Values that are 0, in the rows looked at.
    bars
        For a chart: heights of equal-width bins between the 0.5 % and 99.5 % quantiles.
    span
        The ends of the bars.
    top
        Most frequent values of categories, with their counts.
    """

    name: str
    kind: str
    type: str
    distinct: int | None
    quantiles: Mapping[str, float] = field(default_factory=dict)
    skewness: float | None = None
    excess_kurtosis: float | None = None
    outliers: int = 0
    zeros: int = 0
    bars: tuple[int, ...] = ()
    span: tuple[float, float] | None = None
    top: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """How much two columns have to do with each other.

    Attributes
    ----------
    pearson, spearman
        Of two numbers, over the rows that have both.
    cramers_v
        Of two columns of categories, corrected for bias (Bergsma, 2013).
    information
        Mutual information as a coefficient between 0 and 1, ``sqrt(1 - exp(-2 MI))`` (Linfoot, 1957): of two normal
        columns it is the absolute correlation. Numbers are taken in up to 20 bins, and the bias is taken off.
    """

    a: str
    b: str
    pearson: float | None = None
    spearman: float | None = None
    cramers_v: float | None = None
    information: float | None = None

    @property
    def strength(self) -> float:
        """The largest of the measures, without sign."""
        return max(abs(v or 0.0) for v in (self.pearson, self.spearman, self.cramers_v, self.information))


@dataclass(frozen=True, slots=True)
class TestResult:
    """A test of a column, by itself or against the target.

    Attributes
    ----------
    test
        ``welch t``, ``kolmogorov-smirnov``, ``anova``, ``chi-square``, ``pearson`` or ``shapiro-wilk``.
    q_value
        The p-value after Benjamini-Hochberg over all tests of the exploration.
    effect_name, effect
        ``d`` (Cohen's), ``D`` (largest distance of the distributions), ``eta2`` (share of variance explained), ``V``
        (Cramer's), ``r``, or ``W``: how large the difference is, which a p-value does not say.
    """

    column: str
    test: str
    statistic: float | None
    p_value: float | None
    q_value: float | None
    effect_name: str
    effect: float | None
    n: int


@dataclass(frozen=True, slots=True)
class TargetView:
    """The column to be predicted.

    Attributes
    ----------
    kind
        ``binary``, ``classes`` or ``number``.
    classes
        Rows by class, the most frequent first.
    """

    name: str
    kind: Literal["binary", "classes", "number"]
    classes: tuple[tuple[str, int], ...]
    missing: int


@dataclass(frozen=True, slots=True)
class TimeView:
    """The rows over time.

    Attributes
    ----------
    unit
        ``hour``, ``day``, ``week`` or ``month``, whichever gives the chart a readable number of periods.
    periods
        Beginning of each period with rows, and their number; periods without rows are in ``gaps``.
    gaps
        Periods without a row between the first and the last: the first of each gap, and how many.
    drift
        By later window: its beginning and its end, rows, and the columns that differ from the first window by a PSI of
        0.1 or more that is significant, with the PSI.
    """

    name: str
    first: str
    last: str
    unit: str
    periods: tuple[tuple[str, int], ...]
    gaps: tuple[tuple[str, int], ...]
    drift: tuple[tuple[str, str, int, tuple[tuple[str, float], ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Exploration:
    """What was found in a table.

    Attributes
    ----------
    rows, looked_at
        Rows of the table; rows that quantiles, correlations, tests and counts of numbers rest on: of a very large
        table, evenly spaced ones.
    duplicate_rows
        Rows that repeat an earlier one in every column.
    left_out
        What could not be explored, with the reason.
    """

    rows: int
    looked_at: int
    duplicate_rows: int
    profile: Profile
    columns: tuple[ColumnView, ...]
    pairs: tuple[Pair, ...]
    tests: tuple[TestResult, ...]
    target: TargetView | None
    time: TimeView | None
    findings: tuple[Finding, ...]
    left_out: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Plain data, with a schema version."""
        from dataclasses import asdict

        found = {
            name: asdict(value) if value is not None else None
            for name, value in (("target", self.target), ("time", self.time))
        }
        return {
            "schema_version": SCHEMA_VERSION,
            "rows": self.rows,
            "looked_at": self.looked_at,
            "duplicate_rows": self.duplicate_rows,
            "findings": [plain(asdict(f)) for f in self.findings],
            "profile": self.profile.to_json(),
            "columns": [plain(asdict(c)) for c in self.columns],
            "pairs": [plain(asdict(p)) for p in self.pairs],
            "tests": [plain(asdict(t)) for t in self.tests],
            **{name: plain(value) for name, value in found.items()},
            "left_out": dict(self.left_out),
        }
