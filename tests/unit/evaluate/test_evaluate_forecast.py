from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from charter.core.digest import canonical_json, plain
from charter.core.errors import DataError, UsageError
from charter.data.metrics import Sample, compute
from charter.data.ratios import Bounds
from charter.evaluate.evaluation import Evaluation, evaluate
from charter.evaluate.forecast import by_series, evaluate_forecast, horizon_blocks
from charter.evaluate.intervals import estimate
from charter.evaluate.resample import Draws, Part, replicate
from charter.spec.types import HoldOut, ModelSpec, Split
from charter.spec.vocabulary import metrics_for


def forecasts(seed: int = 0, series: int = 40, origins: int = 3, horizon: int = 6) -> pl.DataFrame:
    """Series of different size; the forecast errs by 10 % and more with the step, the baseline twice as much."""
    rng = np.random.default_rng(seed)
    size = np.repeat(rng.gamma(2, 50, series), origins * horizon)
    n = len(size)
    step = np.tile(np.arange(1, horizon + 1, dtype=np.int32), series * origins)
    habit = np.repeat(rng.normal(0, 0.1, series), origins * horizon)
    actual = np.round(size * rng.lognormal(0, 0.2, n))
    spread = 0.1 + 0.03 * step
    forecast = actual * np.exp(habit + rng.normal(0, spread))
    start = datetime(2024, 1, 1)  # noqa: DTZ001
    return pl.DataFrame(
        {
            "series": [f"s{i:02}" for i in range(series) for _ in range(origins * horizon)],
            "as_of": [
                start + timedelta(weeks=o)
                for _ in range(series)
                for o in range(origins)
                for _ in range(horizon)
            ],
            "step": step,
            "actual": actual,
            "forecast": forecast,
            "lower": forecast * 0.7,
            "upper": forecast * 1.4,
            "plain": actual * np.exp(habit + rng.normal(0, 2 * spread)),
            "promoted": rng.random(n) < 0.3,
        }
    )


OPTIONS: dict[str, Any] = {"baselines": ["plain"], "resamples": 200, "seed": 3}


def test_every_part_is_measured_on_its_own_rows() -> None:
    frame = forecasts()
    report = evaluate_forecast(frame, slices=["promoted", "step <= 2"], **OPTIONS)
    assert (report.n, report.unknown, report.series, report.origins, report.horizon) == (720, 0, 40, 3, 6)
    assert [p.value for p in report.blocks] == ["1-2", "3-4", "5-6"]
    assert [p.value for p in report.steps] == ["1", "2", "3", "4", "5", "6"]
    assert [p.value for p in report.by_origin] == ["2024-01-01", "2024-01-08", "2024-01-15"]
    assert [(p.by, p.value) for p in report.slices] == [
        ("promoted", "false"), ("promoted", "true"), ("step <= 2", "true"),
    ]  # fmt: skip
    rows = {
        "all": pl.lit(True),
        "3-4": pl.col("step").is_between(3, 4),
        "5": pl.col("step") == 5,
        "2024-01-08": pl.col("as_of") == datetime(2024, 1, 8),  # noqa: DTZ001
        "true": pl.col("promoted"),
    }
    for part in (report.overall, report.blocks[1], report.steps[4], report.by_origin[1], report.slices[1]):
        own = frame.filter(rows[part.value])
        y, said = own["actual"].to_numpy(), own["forecast"].to_numpy()
        bounds = Bounds(own["lower"].to_numpy(), own["upper"].to_numpy(), 0.9)
        assert (part.n, part.series) == (own.height, 40)
        for name, found in part.metrics.items():
            assert found.value == pytest.approx(compute(name, y, said, bounds=bounds)), name
            assert found.low is not None
            assert found.high is not None
            assert found.low <= found.value <= found.high
        other = compute("wmape", y, own["plain"].to_numpy())
        (added,) = part.added
        assert (added.baseline, added.metric, added.n) == ("plain", "wmape", own.height)
        assert added.other == pytest.approx(other)
        assert added.improvement.value == pytest.approx(1 - part.metrics["wmape"].value / other)
        assert added.difference.value == pytest.approx(part.metrics["wmape"].value - other)
        assert added.better
        assert added.improvement.low > 0
    errors = [part.metrics["wmape"].value for part in report.blocks]
    assert errors == sorted(errors)
    assert "median_ape" in report.blocks[0].metrics
    assert report.worst_slice == max(report.slices, key=lambda p: p.metrics["wmape"].value)


def test_the_same_twice_and_whatever_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    def text() -> bytes:
        return canonical_json(
            plain(msgspec.to_builtins(evaluate_forecast(forecasts(), slices=["promoted"], **OPTIONS)))
        )

    first = text()
    monkeypatch.setattr("charter.evaluate.resample._BLOCK_CELLS", 900)
    assert text() == first


def test_whole_series_are_resampled() -> None:
    """Where all rows of a series are alike, more rows of it must not narrow the interval."""
    rng = np.random.default_rng(1)
    error = rng.normal(0, 0.3, 50)

    def interval(rows: int) -> float:
        frame = pl.DataFrame(
            {
                "series": np.repeat([f"s{i}" for i in range(50)], rows),
                "as_of": np.tile(np.arange(rows), 50),
                "step": np.ones(50 * rows, dtype=np.int32),
                "actual": np.full(50 * rows, 10.0),
                "forecast": np.repeat(10 + error, rows),
            }
        )
        found = evaluate_forecast(frame, resamples=500).overall.metrics["bias"]
        return found.high - found.low

    assert interval(20) == pytest.approx(interval(2), rel=1e-9)
    assert interval(2) == pytest.approx(2 * 1.96 * error.std() / 10 / np.sqrt(50), rel=0.15)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Of 1,500 intervals at 95 % from 40, 150 and 600 series 89-93, 90-94 and 93-95 % held it; here 100 of 150."""
    names = ("wmape", "bias", "mape")
    many = _sample(forecasts(999, series=8000, origins=1, horizon=3))
    truth = dict(zip(names, many.measure(names, np.ones((1, many.n)))[:, 0], strict=True))
    held = dict.fromkeys(names, 0)
    for seed in range(100):
        frame = forecasts(seed, series=150, origins=1, horizon=3)
        sample, series = _sample(frame), frame["series"].to_numpy()
        draws = Draws.of(sample.n, resamples=200, seed=seed, cluster=series)
        own = replicate([Part(sample, names)], draws)[0]
        for name, found in estimate(names, sample, own, draws, confidence=0.95).items():
            held[name] += found.low <= truth[name] <= found.high
    assert all(times >= 84 for times in held.values()), held


def _sample(frame: pl.DataFrame) -> Sample:
    return Sample(frame["actual"].to_numpy(), frame["forecast"].to_numpy())


def test_a_baseline_that_lacks_rows_is_compared_on_the_others() -> None:
    frame = forecasts().with_columns(
        plain=pl.when(pl.col("step") == 1).then(None).otherwise(pl.col("plain")),
        never=pl.lit(None, pl.Float64),
    )
    report = evaluate_forecast(frame, **{**OPTIONS, "baselines": ["plain", "never"]})
    plain, never = report.overall.added
    own = frame.filter(pl.col("step") > 1)
    assert plain.n == own.height == 600
    assert plain.model == pytest.approx(
        compute("wmape", own["actual"].to_numpy(), own["forecast"].to_numpy())
    )
    assert report.overall.metrics["wmape"].n == 720
    assert (never.n, never.model, never.other, never.better) == (0, None, None, False)
    assert never.improvement.value is None


def test_actuals_of_zero_are_left_out_of_percentages_and_counted() -> None:
    frame = forecasts().with_columns(
        actual=pl.when(pl.col("step") == 2).then(0.0).otherwise(pl.col("actual"))
    )
    report = evaluate_forecast(frame, **OPTIONS)
    assert report.overall.metrics["mape"].note == "120 of 720 rows left out, whose actual is 0"
    own = frame.filter(pl.col("actual") > 0)
    wanted = compute("mape", own["actual"].to_numpy(), own["forecast"].to_numpy())
    assert report.overall.metrics["mape"].value == pytest.approx(wanted)
    second = report.steps[1].metrics
    assert (second["wmape"].value, second["mape"].value) == (None, None)
    assert second["wmape"].note == second["mape"].note == "every actual value is 0"
    assert second["mean_absolute_error"].value > 0
    assert report.steps[1].added[0].improvement.value is None


def test_what_is_not_known_yet_is_left_out_and_counted() -> None:
    frame = forecasts().with_columns(
        actual=pl.when(pl.col("step") == 6).then(None).otherwise(pl.col("actual"))
    )
    report = evaluate_forecast(frame, **OPTIONS)
    assert (report.n, report.unknown) == (600, 120)
    with pytest.raises(DataError, match="no actual value is known yet"):
        evaluate_forecast(frame.filter(pl.col("step") == 6))


def test_small_slices_and_few_series_are_named_not_judged() -> None:
    frame = forecasts().with_columns(rare=pl.col("series") == "s00")
    report = evaluate_forecast(frame, slices=["rare"], **OPTIONS)
    rare = next(p for p in report.slices if p.value == "true")
    assert (rare.judged, rare.series) == (False, 1)
    assert rare.note == "too small to judge: 18 rows, 100 needed"
    assert "fewer than 10 independent units" in rare.metrics["wmape"].note
    assert report.worst_slice is not None
    assert report.worst_slice.value == "false"


def test_what_cannot_be_measured_is_refused() -> None:
    frame = forecasts()
    with pytest.raises(DataError, match="no column 'naive'"):
        evaluate_forecast(frame, baselines=["naive"])
    with pytest.raises(DataError, match="no column 'as_of'"):
        evaluate_forecast(frame.drop("as_of"))
    with pytest.raises(DataError, match="needs both 'lower' and 'upper'"):
        evaluate_forecast(frame.drop("upper"))
    with pytest.raises(DataError, match="1 of 720 rows have no forecast"):
        evaluate_forecast(frame.with_columns(pl.when(pl.int_range(720) > 0).then(pl.col("forecast"))))
    with pytest.raises(UsageError, match="not compared on 'roc_auc'"):
        evaluate_forecast(frame, metric="roc_auc")


def test_series_one_by_one() -> None:
    frame = forecasts(series=3).with_columns(
        actual=pl.when(pl.col("series") == "s01").then(0.0).otherwise(pl.col("actual"))
    )
    table = by_series(frame, baselines=["plain"])
    assert table["series"].to_list() == ["s00", "s01", "s02"]
    own = frame.filter(pl.col("series") == "s02")
    y, said = own["actual"].to_numpy(), own["forecast"].to_numpy()
    row = table.row(2, named=True)
    assert row["wmape"] == pytest.approx(compute("wmape", y, said))
    assert row["bias"] == pytest.approx(compute("bias", y, said))
    other = compute("wmape", y, own["plain"].to_numpy())
    assert row["wmape_plain"] == pytest.approx(other)
    assert row["added_plain"] == pytest.approx(1 - row["wmape"] / other)
    zero = table.row(1, named=True)
    assert (zero["wmape"], zero["bias"], zero["added_plain"], zero["coverage"]) == (None, None, None, 0.0)


def test_an_evaluation_of_a_forecast_holds_the_report(spec_of: Callable[..., ModelSpec]) -> None:
    frame = forecasts()
    spec = _forecast_spec(spec_of, slices=["promoted"], horizon_blocks=[2, 6], resamples=200)
    bounds = Bounds(frame["lower"].to_numpy(), frame["upper"].to_numpy(), 0.9)
    y, said = frame["actual"].to_numpy(), frame["forecast"].to_numpy()

    def judged(bounds: Bounds | None) -> Evaluation:
        return evaluate(
            frame, y, said, spec=spec, bounds=bounds, cluster=frame["series"].to_numpy(),
            baselines={"plain": {"score": frame["plain"].to_numpy(), "decision": None}},
        )  # fmt: skip

    found = judged(bounds)
    assert set(found.metrics) == set(metrics_for("forecast"))
    assert (found.primary, found.entities, found.clustered, found.positives) == ("wmape", 40, True, None)
    for name, one in found.metrics.items():
        assert one.value == pytest.approx(compute(name, y, said, bounds=bounds))
    assert found.against_baseline is not None
    assert found.against_baseline.better
    report = found.forecast
    assert report is not None
    assert [p.value for p in report.blocks] == ["1-2", "3-6"]
    assert report.overall.metrics["wmape"] == found.metrics["wmape"]
    assert report.overall.added[0].difference == found.against_baseline.difference
    assert report.level == 0.9
    text = canonical_json(found.to_json())
    assert Evaluation.from_json(json.loads(text)) == found
    bare = judged(None)
    assert set(found.metrics) - set(bare.metrics) == {
        "interval_coverage", "coverage_error", "interval_width", "interval_score",
    }  # fmt: skip
    assert bare.forecast is not None
    assert bare.forecast.level is None


def test_series_that_training_has_not_seen_are_a_slice_of_their_own(
    spec_of: Callable[..., ModelSpec],
) -> None:
    frame = forecasts().with_columns((pl.col("series") < "s20").alias("__held_out"))
    spec = _forecast_spec(spec_of, resamples=100)
    split = Split(kind="origins", origins=3, hold_out=HoldOut(column="store", share=0.5))
    spec = spec.model_copy(update={"train": spec.train.model_copy(update={"split": split})})
    y, said = frame["actual"].to_numpy(), frame["forecast"].to_numpy()
    found = evaluate(frame, y, said, spec=spec, cluster=frame["series"].to_numpy()).forecast
    assert found is not None
    assert [(p.by, p.value, p.series) for p in found.slices] == [
        ("held out", "false", 20), ("held out", "true", 20),
    ]  # fmt: skip
    own = frame.filter(pl.col("__held_out"))
    wanted = compute("wmape", own["actual"].to_numpy(), own["forecast"].to_numpy())
    assert found.slices[1].metrics["wmape"].value == pytest.approx(wanted)


def _forecast_spec(spec_of: Callable[..., ModelSpec], **evaluate: Any) -> ModelSpec:
    spec = spec_of(task="regression", value=False, **evaluate)
    return spec.model_copy(update={"train": spec.train.model_copy(update={"task": "forecast"})})


def test_blocks_may_be_named_by_their_last_steps() -> None:
    assert horizon_blocks(12, [4, 8]) == ((1, 4), (5, 8), (9, 12))
    assert horizon_blocks(3, [4, 8]) == ((1, 3),)
    assert horizon_blocks(1) == ((1, 1),)


def test_a_bias_of_few_weeks_is_as_unsure_as_the_weeks_are() -> None:
    """Shocks of 20 % in each of 20 weeks, shared by 15 series: the bias of unbiased forecasts varies by 4.5 %.

    Resampling series sees none of it; resampling weeks holds the truth, which is 0, about as often as promised.
    """
    over_series = over_weeks = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        shock = rng.normal(0, 0.2, 20)
        rows = pl.DataFrame(
            {
                "series": np.repeat([f"s{i}" for i in range(15)], 20),
                "as_of": np.tile(np.arange(20) // 4, 15),
                "step": np.tile(np.arange(20) % 4 + 1, 15),
                "target": np.tile(np.arange(20), 15),
                "actual": 100.0 * (1 + np.tile(shock, 15) + rng.normal(0, 0.1, 300)),
                "forecast": np.full(300, 100.0),
            }
        )
        report = evaluate_forecast(rows, resamples=100, seed=seed)
        assert report.periods == 20
        series, weeks = report.overall.metrics["bias"], report.over_time["bias"]
        assert series.value == weeks.value
        over_series += series.low <= 0 <= series.high
        over_weeks += weeks.low <= 0 <= weeks.high
    assert over_weeks >= 21
    assert over_series <= 10
    assert not evaluate_forecast(rows.drop("target"), resamples=50).over_time
