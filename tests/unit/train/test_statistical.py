from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from charter.core.errors import DataError, UsageError
from charter.data.grid import Grid
from charter.data.metrics import compute
from charter.train.statistical import METHODS, statistical_forecasts

WEEK = Grid("week", "thursday")
START = datetime(1989, 9, 14)  # noqa: DTZ001  # weeks have no time zone


def at(week: int) -> datetime:
    return START + timedelta(days=7 * week)


def history(**series: list[float | None]) -> pl.DataFrame:
    """Series from week 0 on; NaN is a period without a row, None a row without a value."""
    rows = [
        {"series": name, "time": at(i), "actual": value}
        for name, values in series.items()
        for i, value in enumerate(values)
        if value is None or value == value
    ]
    return pl.DataFrame(rows, schema={"series": pl.String, "time": pl.Datetime("us"), "actual": pl.Float64})


def forecasts(frame: pl.DataFrame, *origins: int, **options: object) -> pl.DataFrame:
    given: dict[str, object] = {"grid": WEEK, "horizon": 3, "methods": ["naive"], **options}
    return statistical_forecasts(frame, [at(o) for o in origins], **given)  # type: ignore[arg-type]


def test_simple_methods_by_hand() -> None:
    frame = history(a=[1, 2, 3, 4, 5, 6], b=[10, 20, 30, 40, 50, 60])
    found = forecasts(
        frame, 4, 6, gap=1, season=3, window=2, methods=["naive", "moving_average", "seasonal_naive"]
    )
    assert found.columns == ["series", "as_of", "step", "naive", "moving_average", "seasonal_naive"]
    assert found.schema["as_of"] == pl.Datetime("us")
    assert found.schema["step"] == pl.Int32
    assert found.rows() == [
        ("a", at(4), 1, 4.0, 3.5, 3.0),  # week 5, three weeks before: week 2
        ("a", at(4), 2, 4.0, 3.5, 4.0),
        ("a", at(4), 3, 4.0, 3.5, 2.0),  # week 7: week 4 is not known, so week 1
        ("a", at(6), 1, 6.0, 5.5, 5.0),
        ("a", at(6), 2, 6.0, 5.5, 6.0),
        ("a", at(6), 3, 6.0, 5.5, 4.0),
        *[
            ("b", moment, step, 10 * naive, 10 * mean, 10 * seasonal)
            for moment, step, naive, mean, seasonal in [
                (at(4), 1, 4.0, 3.5, 3.0),
                (at(4), 2, 4.0, 3.5, 4.0),
                (at(4), 3, 4.0, 3.5, 2.0),
                (at(6), 1, 6.0, 5.5, 5.0),
                (at(6), 2, 6.0, 5.5, 6.0),
                (at(6), 3, 6.0, 5.5, 4.0),
            ]
        ],
    ]


def test_nothing_at_or_after_the_origin_is_read() -> None:
    rng = np.random.default_rng(0)
    values = rng.gamma(2, 50, 40).tolist()
    changed = [*values[:30], *rng.gamma(2, 500, 10).tolist()]
    methods = [m for m in METHODS if m not in ("auto_arima", "auto_theta")]
    pytest.importorskip("statsforecast")
    one, other = (forecasts(history(a=v), 30, season=13, methods=methods) for v in (values, changed))
    assert one.equals(other)


def test_simple_methods_agree_with_statsforecast() -> None:
    models = pytest.importorskip("statsforecast.models")
    from statsforecast import StatsForecast

    rng = np.random.default_rng(1)
    values = {f"s{i}": rng.gamma(2, 50, 60) for i in range(5)}
    found = forecasts(
        history(**{k: v.tolist() for k, v in values.items()}), 60, horizon=12, season=13, window=4,
        methods=["naive", "moving_average", "seasonal_naive"],
    )  # fmt: skip
    frame = pl.DataFrame(
        [{"unique_id": k, "ds": i, "y": y} for k, v in values.items() for i, y in enumerate(v.tolist())]
    )
    peers = [models.Naive(), models.WindowAverage(4), models.SeasonalNaive(13)]
    wanted = StatsForecast(peers, freq=1).forecast(df=frame, h=12).sort("unique_id", "ds")
    for own, peer in (
        ("naive", "Naive"),
        ("moving_average", "WindowAverage"),
        ("seasonal_naive", "SeasonalNaive"),
    ):
        np.testing.assert_allclose(found[own], wanted[peer], rtol=1e-6)


@pytest.mark.parametrize(
    ("method", "peer"), [("exponential_smoothing", "SimpleExponentialSmoothingOptimized"), ("ets", "AutoETS"),
                         ("auto_arima", "AutoARIMA")],
)  # fmt: skip
def test_fitted_methods_are_those_of_statsforecast(method: str, peer: str) -> None:
    models = pytest.importorskip("statsforecast.models")
    values = (100 + np.cumsum(np.random.default_rng(2).normal(0, 5, 50))).tolist()
    found = forecasts(history(a=values), 50, gap=1, horizon=4, methods=[method])
    model = getattr(models, peer)() if peer.startswith("Simple") else getattr(models, peer)(season_length=1)
    wanted = model.forecast(y=np.array(values), h=5)["mean"][1:]
    np.testing.assert_allclose(found[method], wanted, rtol=1e-6)


def test_what_is_missing_is_filled_as_documented() -> None:
    nan = float("nan")
    frame = history(
        whole=[8, 1, 2, 3, 4, 5, 6, 7],
        gap=[8, 1, 2, 3, 4, nan, None, nan],
        young=[nan, nan, nan, nan, nan, nan, nan, 9],
        unborn=[None, nan, nan, nan, nan, nan, nan, nan],
        zero=[0] * 8,
    )
    found = forecasts(
        frame, 8, horizon=1, season=3, window=2, methods=["naive", "moving_average", "seasonal_naive"]
    ).rows_by_key("series", named=True, unique=True)
    rows = {name: (r["naive"], r["moving_average"], r["seasonal_naive"]) for name, r in found.items()}
    assert rows["gap"] == (
        4.0,
        4.0,
        2.0,
    )  # nothing known in the window; of the seasons before, week 5 not, week 2 is
    assert rows["young"] == (9.0, 9.0, 9.0)
    assert rows["zero"] == (0.0, 0.0, 0.0)
    assert rows["whole"] == (7.0, 6.5, 5.0)
    assert rows["unborn"] == (5.0, (4 + 9 + 0 + 6.5) / 4, (2 + 9 + 0 + 5) / 4)


def test_fitted_methods_survive_short_series_gaps_and_zeros() -> None:
    pytest.importorskip("statsforecast")
    nan = float("nan")
    wave = [10 + (i % 5) for i in range(30)]
    frame = history(
        wave=wave, gap=[*wave[:10], nan, nan, *wave[12:]], short=[nan] * 28 + [3, 4], zero=[0] * 30,
        late=[nan] * 20 + wave[20:], none=[None] + [nan] * 29,
    )  # fmt: skip
    found = forecasts(frame, 20, 30, methods=["ets", "exponential_smoothing"])
    assert found.height == 6 * 2 * 3
    values = found.select("ets", "exponential_smoothing").to_numpy()
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    last = found.filter(pl.col("as_of") == at(30))
    assert last.filter(pl.col("series") == "short")["ets"].to_list() == [4.0] * 3
    assert last.filter(pl.col("series") == "zero")["ets"].to_list() == [0.0] * 3


def test_forecasts_keep_to_the_floor() -> None:
    frame = history(a=[3, 1, -2, -4])
    assert forecasts(frame, 4)["naive"].to_list() == [0.0] * 3
    assert forecasts(frame, 4, floor=None)["naive"].to_list() == [-4.0] * 3


def test_what_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = history(a=[1, 2, 3, 4, 5])
    with pytest.raises(UsageError, match="no forecasting method is called 'etz'"):
        forecasts(frame, 3, methods=["etz"])
    with pytest.raises(DataError, match="nothing is known before the origin 1989-09-14"):
        forecasts(frame, 0)
    with pytest.raises(DataError, match="two rows stand for one period"):
        forecasts(pl.concat([frame, frame]), 3)
    with pytest.raises(DataError, match="no column 'actual'"):
        forecasts(frame.rename({"actual": "y"}), 3)
    with pytest.raises(DataError, match="the history has no rows"):
        forecasts(frame.clear(), 3)
    monkeypatch.setitem(sys.modules, "statsforecast", None)
    with pytest.raises(UsageError, match="needs statsforecast") as raised:
        forecasts(frame, 5, methods=["ets"])
    assert "charter-ml[forecast]" in str(raised.value)
    assert forecasts(frame, 5)["naive"].to_list() == [5.0] * 3


@pytest.mark.data
def test_the_published_naive_error_is_reproduced(data_folder: Path) -> None:
    """TSPerf, OrangeJuice_Pt_3Weeks_Weekly: 109.67 % over 21,054 pairs."""
    rows = pl.read_parquet(data_folder / "dominicks_orange_juice" / "yx.parquet").select(
        pl.format("{}/{}", "store", "brand").alias("series"),
        (pl.lit(START) + pl.duration(days=7 * pl.col("week"))).alias("time"),
        pl.col("logmove").exp().round().alias("actual"),
    )
    rounds = [136 + 2 * r for r in range(12)]
    found = forecasts(rows, *rounds, horizon=2, gap=1)
    target = (pl.col("as_of") + pl.duration(days=7) * pl.col("step").cast(pl.Int64)).alias("time")
    pairs = found.with_columns(target).join(rows, on=["series", "time"])
    assert pairs.height == 21_054
    mape = compute("mape", pairs["actual"].to_numpy(), pairs["naive"].to_numpy())
    assert round(100 * mape, 2) == 109.67
