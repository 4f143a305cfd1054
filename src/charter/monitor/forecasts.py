"""Forecasts held against what came: error by step, and the series that somebody should look at.

Three questions are asked of each series over its last periods, each forecast as late as it was:

- *interval*: do its actual values leave the interval more often than promised? Exact binomial test.
- *bias*: does it err to one side? t-test of the mean error; shown with the tracking signal, the sum of the errors over
  their mean absolute value (Brown, "Statistical Forecasting for Inventory Control", 1959), whose usual limit of 4 a
  third of all unbiased series would cross within 12 periods.
- *level*: have the last few periods jumped? Mean log ratio of actual to forecast, against its spread before.

Thousands of series make hundreds of false calls at any fixed level of significance, so the tests are adjusted for all
series (Benjamini & Hochberg, 1995).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.core.errors import DataError
from charter.data.discovery import benjamini_hochberg

WINDOW = 12
_RECENT = 4
_MIN_PERIODS = 6
_JUMP = 1.5
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tracked:
    """What became of earlier forecasts.

    Attributes
    ----------
    rows
        Forecasts whose actual value is known by now.
    origins
        Origins that they come from.
    by_step, by_origin
        ``step`` (or ``as_of``), ``rows``, ``wmape``, ``bias``, ``coverage``.
    exceptions
        ``series``, ``kind`` (``interval``: share outside, ``bias``: tracking signal, ``level``: factor), ``periods``,
        ``value``, ``adjusted_p``, ``text``; by kind, the surest first.
    """

    rows: int
    origins: int
    share: float
    by_step: pl.DataFrame
    by_origin: pl.DataFrame
    exceptions: pl.DataFrame

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "rows": self.rows,
            "origins": self.origins,
            "share": self.share,
            "by_step": self.by_step.to_dicts(),
            "by_origin": [row | {"as_of": str(row["as_of"])} for row in self.by_origin.to_dicts()],
            "exceptions": self.exceptions.to_dicts(),
        }


def track(
    earlier: pl.DataFrame,
    actuals: pl.DataFrame,
    *,
    share: float = 0.9,
    window: int = WINDOW,
    false_discovery_rate: float = 0.05,
) -> Tracked:
    """Hold earlier forecasts against what has become known.

    Parameters
    ----------
    earlier
        Forecasts as they were written: ``series``, ``as_of``, ``step``, ``target``, ``forecast``, ``lower``, ``upper``.
        A forecast that was written twice for the same origin counts as last written.
    actuals
        ``series``, ``target``, ``actual``.
    share
        Share of actual values that the intervals promise to hold.
    window
        Last periods of each series that exceptions are looked for in; series with fewer than 6 are not judged.

    Raises
    ------
    DataError
        When a column is missing, or no forecast has met its actual value yet.
    """
    for frame, names in (
        (earlier, ("series", "as_of", "step", "target", "forecast", "lower", "upper")),
        (actuals, ("series", "target", "actual")),
    ):
        absent = [name for name in names if name not in frame.columns]
        if absent:
            raise DataError(f"tracking: there is no column {absent[0]!r}")
    known = (
        earlier.unique(["series", "as_of", "step"], keep="last", maintain_order=True)
        .drop("actual", strict=False)
        .join(actuals.select("series", "target", "actual"), on=["series", "target"], how="inner")
        .filter(pl.col("actual").is_finite() & pl.col("forecast").is_finite())
    )
    if known.is_empty():
        raise DataError(
            "no earlier forecast has met its actual value yet",
            remedy="Bring the periods that are over into the source, and look again.",
        )
    newest = (
        known.sort("series", "target", "step")
        .unique(["series", "target"], keep="first", maintain_order=True)
        .filter(pl.col("target").rank("ordinal", descending=True).over("series") <= window)
    )
    return Tracked(
        known.height,
        known["as_of"].n_unique(),
        share,
        _measured(known, "step"),
        _measured(known, "as_of"),
        _exceptions(newest, share, false_discovery_rate),
    )


def _measured(known: pl.DataFrame, by: str) -> pl.DataFrame:
    error = pl.col("forecast") - pl.col("actual")
    total = pl.col("actual").abs().sum()
    return (
        known.group_by(by)
        .agg(
            pl.len().alias("rows"),
            pl.when(total > 0).then(error.abs().sum() / total).alias("wmape"),
            pl.when(total > 0).then(error.sum() / total).alias("bias"),
            pl.col("actual").is_between("lower", "upper").mean().alias("coverage"),
        )
        .sort(by)
    )


def _exceptions(newest: pl.DataFrame, share: float, rate: float) -> pl.DataFrame:
    ordered = newest.sort("series", "target")
    error = pl.col("forecast") - pl.col("actual")
    ratio = ((pl.col("actual") + 1) / (pl.col("forecast") + 1)).log()
    late = pl.int_range(pl.len()).reverse() < _RECENT
    found = (
        ordered.group_by("series", maintain_order=True)
        .agg(
            pl.len().alias("periods"),
            (~pl.col("actual").is_between("lower", "upper")).sum().alias("outside"),
            error.sum().alias("error"),
            error.abs().mean().alias("deviation"),
            error.std().alias("error_spread"),
            ratio.filter(late).mean().alias("recent"),
            ratio.filter(~late).mean().alias("before"),
            ratio.filter(~late).std().alias("spread"),
        )
        .filter(pl.col("periods") >= _MIN_PERIODS)
    )
    parts = [_outside(found, share, rate), _biased(found, rate), _jumped(found, rate)]
    return pl.concat(parts).sort(
        ["kind", "adjusted_p", "value", "series"], descending=[False, False, True, False], nulls_last=True
    )


def _outside(found: pl.DataFrame, share: float, rate: float) -> pl.DataFrame:
    from scipy.stats import binom

    n, k = (found[c].to_numpy().astype(np.int64) for c in ("periods", "outside"))
    p = binom.sf(k - 1, n, 1 - share)
    return _called(
        found,
        "interval",
        p,
        rate,
        (found["outside"] / found["periods"]).to_numpy().astype(np.float64),
        pl.format(
            "{} of the last {} actual values lie outside the interval; "
            + f"{1 - share:.0%}"
            + " are expected to",
            "outside",
            "periods",
        ),
    )


def _biased(found: pl.DataFrame, rate: float) -> pl.DataFrame:
    from scipy.stats import t as student

    judged = found.filter(pl.col("error_spread") > 0)
    n = judged["periods"].to_numpy().astype(np.int64)
    total = judged["error"].to_numpy().astype(np.float64)
    p = 2 * student.sf(np.abs(total) / (judged["error_spread"].to_numpy() * np.sqrt(n)), n - 1)
    signal = total / judged["deviation"].to_numpy()
    side = pl.when(pl.col("error") > 0).then(pl.lit("above")).otherwise(pl.lit("below"))
    return _called(
        judged.with_columns(pl.Series("signal", signal).round(1), side.alias("side")),
        "bias",
        p,
        rate,
        np.abs(signal),
        pl.format("forecasts lie {} the actual values: tracking signal {}", "side", "signal"),
    )


def _jumped(found: pl.DataFrame, rate: float) -> pl.DataFrame:
    """Compare the last few log ratios with those before: t with the spread before, as it would be without a jump."""
    from scipy.stats import t as student

    judged = found.filter(pl.col("spread") > 0)
    earlier = judged["periods"].to_numpy() - _RECENT
    shift = (judged["recent"] - judged["before"]).to_numpy().astype(np.float64)
    error = judged["spread"].to_numpy() * np.sqrt(1 / _RECENT + 1 / earlier)
    p = 2 * student.sf(np.abs(shift) / error, np.maximum(earlier - 1, 1))
    p = np.where(np.abs(shift) >= np.log(_JUMP), p, 1.0)
    times = pl.Series("times", np.exp(shift)).round(2)
    return _called(
        judged.with_columns(times),
        "level",
        p,
        rate,
        np.exp(np.abs(shift)),
        pl.format(
            "the last "
            + str(_RECENT)
            + " actual values are {} times what they were before, held against the forecast",
            "times",
        ),
    )


def _called(
    found: pl.DataFrame, kind: str, p: npt.ArrayLike, rate: float, value: Floats, text: pl.Expr
) -> pl.DataFrame:
    adjusted = benjamini_hochberg(p) if found.height else np.empty(0)
    return (
        found.with_columns(pl.Series("value", value), pl.Series("adjusted_p", adjusted, dtype=pl.Float64))
        .filter(pl.col("adjusted_p") <= rate)
        .select(
            "series",
            pl.lit(kind).alias("kind"),
            pl.col("periods").cast(pl.Int64),
            pl.col("value").cast(pl.Float64),
            "adjusted_p",
            text.alias("text"),
        )
    )


def summary(tracked: Tracked) -> Mapping[str, int]:
    """Exceptions by kind."""
    return dict(tracked.exceptions.group_by("kind").len().sort("kind").iter_rows())
