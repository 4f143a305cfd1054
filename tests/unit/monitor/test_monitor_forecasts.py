"""Forecasts against actual values: measured, and exceptions that are called when there are some."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from charter.core.errors import DataError
from charter.monitor.forecasts import Tracked, summary, track


def written(n: int = 300, origins: int = 12, horizon: int = 4) -> pl.DataFrame:
    i, o, h = (index.ravel() for index in np.indices((n, origins, horizon)))
    return pl.DataFrame(
        {
            "series": [f"s{k:04d}" for k in i], "as_of": o, "step": h + 1, "target": o + h, "forecast": 100.0,
            "lower": 100 * np.exp(-1.645 * 0.2), "upper": 100 * np.exp(1.645 * 0.2),
        }
    )  # fmt: skip


def came(n: int = 300, periods: int = 12, seed: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    drawn: np.ndarray[tuple[int, int], np.dtype[np.float64]] = 100 * np.exp(
        np.random.default_rng(seed).normal(0, 0.2, (n, periods))
    )
    return drawn


def frame(actual: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> pl.DataFrame:
    i, t = (index.ravel() for index in np.indices(actual.shape))
    return pl.DataFrame({"series": [f"s{k:04d}" for k in i], "target": t, "actual": actual.ravel()})


def called(tracked: Tracked, kind: str) -> list[str]:
    return tracked.exceptions.filter(pl.col("kind") == kind)["series"].to_list()


def test_errors_by_step_and_origin() -> None:
    tracked = track(written(), frame(came()))
    assert tracked.by_step["step"].to_list() == [1, 2, 3, 4]
    assert tracked.by_step["rows"].to_list() == [300 * 12, 300 * 11, 300 * 10, 300 * 9]
    assert tracked.by_step["coverage"].to_list() == pytest.approx([0.9] * 4, abs=0.02)
    assert tracked.by_step["wmape"].to_list() == pytest.approx([0.16] * 4, abs=0.01)
    assert tracked.by_step["bias"].to_list() == pytest.approx([-0.02] * 4, abs=0.01)
    assert tracked.origins == 12


def test_nothing_is_called_when_all_is_well() -> None:
    """Any false call among 300 series: of three tests at a rate of 0.05, in few of ten draws."""
    centred = written().with_columns(pl.col("forecast") * np.exp(0.02))
    calls = [track(centred, frame(came(seed=seed))) for seed in range(10)]
    assert sum(t.exceptions.height > 0 for t in calls) <= 4
    assert sum(t.exceptions.height for t in calls) <= 8


def test_what_goes_wrong_is_called_and_nothing_else() -> None:
    actual = came()
    actual[3] *= np.where(np.arange(12) % 2, 3.0, 0.3)  # wild, on both sides
    actual[4] *= 1.8  # always more than forecast
    actual[5, 8:] *= 4.0  # a jump
    tracked = track(written(), frame(actual))
    assert "s0003" in called(tracked, "interval")
    assert "s0004" in called(tracked, "bias")
    assert "s0005" in called(tracked, "level")
    assert len(called(tracked, "interval")) <= 3
    assert len(called(tracked, "level")) <= 2
    assert len(called(tracked, "bias")) <= 3
    jump = tracked.exceptions.filter((pl.col("kind") == "level") & (pl.col("series") == "s0005")).row(
        0, named=True
    )
    assert 3.0 < jump["value"] < 5.5
    assert "times what they were" in jump["text"]
    bias = tracked.exceptions.filter((pl.col("kind") == "bias") & (pl.col("series") == "s0004")).row(
        0, named=True
    )
    assert "forecasts lie below" in bias["text"]
    assert summary(tracked)["level"] >= 1
    assert tracked.to_json()["rows"] == tracked.rows


def test_short_series_are_not_judged() -> None:
    actual = came(n=10, periods=5) * 9
    tracked = track(written(10), frame(actual))
    assert tracked.exceptions.is_empty()


def test_a_forecast_written_twice_counts_as_last_written() -> None:
    first = written(5)
    tracked = track(pl.concat([first.with_columns(forecast=pl.lit(1e6)), first]), frame(came(5)))
    assert tracked.by_step["wmape"].to_numpy().max() < 1


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match="no column 'upper'"):
        track(written(2).drop("upper"), frame(came(2)))
    with pytest.raises(DataError, match="has met its actual value"):
        track(written(2), frame(came(2)).with_columns(target=pl.col("target") + 100))
