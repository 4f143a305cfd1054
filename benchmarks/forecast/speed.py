"""How long features, training and a forecast of twelve weeks take: Charter, and mlforecast with the same inputs.

    python benchmarks/forecast/speed.py [--copies 10] [--trees 200] [--repeat 3]

Both get the same regular series, the same lags and rolling means, prices and promotions known ahead, and LightGBM
with the same parameters and threads. mlforecast forecasts step by step with its own forecasts as lags (recursive),
Charter each step from the origin (direct, one step drawn for each target), on as many training rows. Each runs in a
process of its own, one after the other, ``--repeat`` times; the least time counts.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from orange_juice import sales

HORIZON, LAST = 12, 148
LAGS, WINDOWS = (1, 2, 3, 4, 8, 12, 26, 52), (4, 8, 13, 26, 52)
AHEAD = ("price", "deal", "feat")
PARAMS: dict[str, Any] = {"learning_rate": 0.05, "num_leaves": 31, "min_data_in_leaf": 20}
THREADS = 2


def series(copies: int) -> pl.DataFrame:
    """Regular series: a week without a row is as the week before."""
    frame = sales().select("store", "brand", "starts", "units", *AHEAD)
    ends = frame.group_by("store", "brand").agg(
        pl.col("starts").min().alias("from"), pl.col("starts").max().alias("to")
    )
    weeks = ends.with_columns(starts=pl.datetime_ranges("from", "to", "1w", time_unit="us")).explode("starts")
    whole = (
        weeks.select("store", "brand", "starts")
        .join(frame, on=["store", "brand", "starts"], how="left")
        .sort("store", "brand", "starts")
        .with_columns(pl.col("units", *AHEAD).forward_fill().over("store", "brand"))
        .with_columns(pl.col("units").log1p(), pl.col(*AHEAD).cast(pl.Float64))
    )
    parts = [whole.with_columns(store=pl.col("store") + f"-{i}") for i in range(copies)]
    return pl.concat(parts)


def with_charter(frame: pl.DataFrame, trees: int) -> np.ndarray:
    """Features of training rows, training, features of the next weeks, forecast."""
    from charter.data.grid import SeriesPlan
    from charter.features.featureset import EventWindow, FeatureSet, complete, histories
    from charter.features.lags import Lag
    from charter.train.learners.gbm import LightGBMLearner

    plan = SeriesPlan(
        "sales", ("store", "brand"), "starts", "week", "thursday", HORIZON, 0, "leave", "units", AHEAD
    )
    windows = (EventWindow("mean", "sales", "AVG(units)", tuple(f"{w}w" for w in WINDOWS), None, None),)
    features = FeatureSet(
        (),
        "series",
        (("sales", "starts"),),
        windows,
        (),
        (),
        "units",
        plan,
        (Lag("units", "units", LAGS, (), ()),),
    )
    origin = _origin()
    frame = frame.with_columns(pl.concat_str(["store", "brand"], separator="/").alias("series"))
    known = frame.filter(pl.col("starts") < origin)
    past = histories({"sales": known}, features)
    names = [f"units_lag_{k}" for k in LAGS] + [f"mean_{w}w" for w in WINDOWS] + [*AHEAD, "step"]
    step = (pl.int_range(pl.len()) * 7 % HORIZON + 1).cast(pl.Int32)
    rows = known.with_columns(step=step).with_columns(
        as_of=pl.col("starts") - (pl.col("step") - 1) * pl.duration(weeks=1)
    )
    train = complete(rows, features, past)
    fitted = LightGBMLearner().fit(
        train.select(names).cast(pl.Float32).to_numpy(), train["units"].to_numpy(), weight=None,
        params={**PARAMS, "trees": trees, "num_threads": THREADS}, seed=0, monotone=[], task="regression",
    )  # fmt: skip
    ahead = frame.filter(
        pl.col("starts").is_between(origin, origin + timedelta(weeks=HORIZON), closed="left")
    )
    ahead = ahead.with_columns(
        pl.lit(origin, pl.Datetime("us")).alias("as_of"),
        ((pl.col("starts") - origin).dt.total_days() // 7 + 1).cast(pl.Int32).alias("step"),
    )
    return fitted.predict(complete(ahead, features, past).select(names).cast(pl.Float32).to_numpy())


def with_mlforecast(frame: pl.DataFrame, trees: int) -> np.ndarray:
    """The same, by mlforecast."""
    import lightgbm as lgb
    from mlforecast import MLForecast
    from mlforecast.lag_transforms import RollingMean

    origin = _origin()
    known = frame.filter(pl.col("starts") < origin)
    learner = lgb.LGBMRegressor(
        n_estimators=trees, learning_rate=PARAMS["learning_rate"], num_leaves=PARAMS["num_leaves"],
        min_child_samples=PARAMS["min_data_in_leaf"], n_jobs=THREADS, verbosity=-1, random_state=0,
        deterministic=True, force_col_wise=True, feature_pre_filter=False,  # as Charter's learner has it
    )  # fmt: skip
    forecast = MLForecast(
        models=[learner], freq="1w", lags=list(LAGS), num_threads=THREADS,
        lag_transforms={1: [RollingMean(w, min_samples=1) for w in WINDOWS]},
    )  # fmt: skip
    named = known.select(
        pl.concat_str(["store", "brand"], separator="/").alias("unique_id"),
        pl.col("starts").alias("ds"), pl.col("units").alias("y"), *AHEAD,
    )  # fmt: skip
    forecast.fit(named, static_features=[], dropna=False)
    ahead = frame.filter(
        pl.col("starts").is_between(origin, origin + timedelta(weeks=HORIZON), closed="left")
    ).select(
        pl.concat_str(["store", "brand"], separator="/").alias("unique_id"),
        pl.col("starts").alias("ds"),
        *AHEAD,
    )
    return forecast.predict(HORIZON, X_df=ahead)["LGBMRegressor"].to_numpy()


def _origin() -> datetime:
    return datetime(1989, 9, 14) + timedelta(weeks=LAST)  # noqa: DTZ001 - frames hold naive UTC


def measure(who: str, copies: int, trees: int) -> dict[str, float]:
    """Time one of the two in this process; memory is what it takes beyond the data."""
    frame = series(copies)
    # Series that end before the twelve weeks are over cannot be forecast by mlforecast.
    full = frame.group_by("store", "brand").agg(pl.col("starts").max().alias("to"))
    full = full.filter(pl.col("to") >= _origin() + timedelta(weeks=HORIZON - 1)).select("store", "brand")
    frame = frame.join(full, on=["store", "brand"], how="semi", maintain_order="left")
    run = {"charter": with_charter, "mlforecast": with_mlforecast}[who]
    small = frame.join(full.head(3), on=["store", "brand"], how="semi", maintain_order="left")
    run(small, 2)  # imports and compilation
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    found = run(frame, trees)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    actual = frame.filter(pl.col("starts") >= _origin()).filter(
        pl.col("starts") < _origin() + timedelta(weeks=HORIZON)
    )
    y, f = np.expm1(actual["units"].to_numpy()), np.expm1(found)
    return {
        "seconds": seconds, "peak_mb": peak / 1024, "more_mb": (peak - before) / 1024, "series": full.height,
        "forecasts": len(found), "wmape": float(np.abs(f - y).sum() / y.sum()),
    }  # fmt: skip


def main() -> None:
    """Run both in processes of their own and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.copies, args.trees)))
        return
    best: dict[tuple[str, int], dict[str, float]] = {}
    for _ in range(args.repeat):
        for who, copies in (("mlforecast", 1), ("charter", 1), ("charter", args.copies)):
            command = [
                sys.executable,
                __file__,
                "--one",
                who,
                "--copies",
                str(copies),
                "--trees",
                str(args.trees),
            ]
            out = subprocess.run(
                command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent
            )
            found = json.loads(out.stdout.splitlines()[-1])
            if (who, copies) not in best or found["seconds"] < best[who, copies]["seconds"]:
                best[who, copies] = found
    for (who, _), found in best.items():
        print(
            f"{who:11s} {found['series']:6.0f} series {found['seconds']:7.2f} s  peak {found['peak_mb']:6.0f} MB "
            f"({found['more_mb']:+.0f} by it)  WMAPE {found['wmape']:.3f}"
        )
    one, ten = best["charter", 1]["seconds"], best["charter", args.copies]["seconds"]
    print(f"charter / mlforecast: {one / best['mlforecast', 1]['seconds']:.2f}")
    print(f"{args.copies} times the series: {ten / one:.1f} times the time")


if __name__ == "__main__":
    main()
