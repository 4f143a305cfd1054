"""How a forecast's quality is told on the terminal."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from datetime import datetime, timedelta

import msgspec
import numpy as np
import polars as pl
from golden_support import golden

from charter.cli.show import _horizon
from charter.core.digest import plain
from charter.evaluate.forecast import evaluate_forecast


def _report(*, intervals: bool = True, known: bool = True) -> dict[str, object]:
    rng = np.random.default_rng(4)
    series, origins, horizon = 40, 2, 6
    step = np.tile(np.arange(1, horizon + 1), series * origins)
    actual = np.repeat(rng.gamma(2, 50, series), origins * horizon).round() + 1
    forecast = actual * np.exp(rng.normal(0.02, 0.1 + 0.02 * step))
    start = datetime(2024, 1, 1)  # noqa: DTZ001
    frame = pl.DataFrame(
        {
            "series": np.repeat([f"s{i:02}" for i in range(series)], origins * horizon),
            "as_of": [start + timedelta(weeks=o) for o in range(origins) for _ in range(horizon)] * series,
            "step": step,
            "actual": pl.Series(actual),
            "forecast": forecast,
            "moving average": actual * np.exp(rng.normal(0, 0.3, len(step))),
            "naive": actual * np.exp(rng.normal(0, 0.5, len(step))),
        }
    )
    if intervals:
        frame = frame.with_columns(lower=pl.col("forecast") * 0.75, upper=pl.col("forecast") * 1.33)
    if not known:
        frame = frame.with_columns(actual=pl.when(pl.col("step") < 6).then(pl.col("actual")))
    report = evaluate_forecast(
        frame, baselines=["moving average", "naive"] if intervals else [], resamples=200
    )
    found: dict[str, object] = plain(msgspec.to_builtins(report))
    return found


def test_the_horizon_is_shown() -> None:
    seen = io.StringIO()
    with redirect_stdout(seen):
        _horizon(_report())
        _horizon(_report(intervals=False, known=False))
    golden("show-forecast", seen.getvalue())
