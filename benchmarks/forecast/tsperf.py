"""The published benchmark "OrangeJuice_Pt_3Weeks_Weekly" of TSPerf, with Charter's features and LightGBM.

    python benchmarks/forecast/tsperf.py            # the 12 published rounds
    python benchmarks/forecast/tsperf.py --select   # candidates, on rounds before them

Round r = 0..11 knows sales up to week 135 + 2r and forecasts weeks 137 + 2r and 138 + 2r of 913 series; prices, deals
and advertisements of those weeks are known. The measure is the mean of |forecast - actual| / actual over all pairs, in
per cent. A model is fitted in each round, on rows whose sales that round knows.

Features and settings were chosen by ``--select``: six rounds that know sales up to week 111 + 4r and forecast weeks up
to 134, none of which a published round forecasts.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import lightgbm as lgb
import numpy as np
import polars as pl
from numpy.typing import NDArray
from orange_juice import sales, stores

from charter.features.expressions import compile_expression
from charter.features.featureset import complete, feature_set
from charter.spec.loader import load

Floats = NDArray[np.float64]
HERE = Path(__file__).parent
GAP, HORIZON = 1, 2
PUBLISHED = tuple(135 + 2 * r for r in range(12))
BEFORE = tuple(111 + 4 * r for r in range(6))


@dataclass(frozen=True)
class Settings:
    """How a round's model is fitted.

    Attributes
    ----------
    first_week
        Targets before it are not learned from: their series have hardly a past.
    weight
        What a row counts. ``usual``: exp(usual - log(units)) within ``most`` e-folds, ``usual`` being the spec's rough
        forecast. The median under weights 1 / y minimises the percentage error (Gneiting 2011, "Making and evaluating
        point forecasts"), and the usual level keeps large series in. ``root``: units^-0.5. ``none``: all the same.
    seeds
        Forecasts of as many models are averaged on the logarithm.
    """

    params: dict[str, Any] = field(default_factory=dict)
    trees: int = 150
    first_week: int = 50
    weight: Literal["usual", "root", "none"] = "usual"
    most: float = 1.5
    seeds: tuple[int, ...] = (0,)


PARAMS: dict[str, Any] = {
    "objective": "l1", "learning_rate": 0.05, "num_leaves": 31, "min_data_in_leaf": 50, "feature_fraction": 0.3,
    "bagging_fraction": 0.5, "bagging_freq": 1, "cat_smooth": 20, "deterministic": True, "force_row_wise": True,
    "feature_pre_filter": False, "max_bin": 63, "verbosity": -1,
}  # fmt: skip
CHOSEN = Settings(seeds=(0, 1, 2))
CANDIDATES = {
    "weights by the usual level": Settings(),
    "weights units^-0.5": Settings(weight="root"),
    "no weights": Settings(weight="none"),
    "targets from week 41 on": Settings(first_week=41),
    "300 trees, rate 0.03": Settings(params={"learning_rate": 0.03}, trees=300),
    "63 leaves of 150 rows": Settings(params={"num_leaves": 63, "min_data_in_leaf": 150}),
    "three seeds": CHOSEN,
}


@dataclass(frozen=True)
class Table:
    """All rows with their features: every series, week and step ahead."""

    names: tuple[str, ...]
    X: NDArray[np.float32]
    week: NDArray[np.int64]
    step: NDArray[np.int64]
    units: Floats
    usual: Floats
    keys: pl.DataFrame


def table() -> Table:
    """Compute the features of ``model.yaml``."""
    spec = load(HERE / "model.yaml").spec
    features = feature_set(spec)
    frame = sales()
    for name, text in spec.data.sources["sales"].derive.items():
        if name not in frame.columns:
            frame = frame.with_columns(compile_expression(text).alias(name))
    rows = [
        frame.with_columns(
            pl.lit(step, pl.Int32).alias("step"),
            (pl.col("starts") - pl.duration(weeks=GAP + step - 1)).alias("as_of"),
        )
        for step in range(1, HORIZON + 1)
    ]
    asked = pl.concat(rows).join(stores(), on="store", how="left", maintain_order="left")
    made = complete(asked, features, {"sales": frame, "stores": stores()})
    names = features.names
    coded = made.select(
        pl.col(names).cast(pl.Float32, strict=False)
    )  # store and brand are numbers written as text
    return Table(
        names, coded.to_numpy(), made["week"].to_numpy().astype(np.int64),
        made["step"].to_numpy().astype(np.int64), made["units"].to_numpy(), made["usual"].to_numpy(),
        made.select("store", "brand"),
    )  # fmt: skip


def asked_in(data: Table, last: int) -> NDArray[np.bool_]:
    """Rows that a round forecasts which knows sales up to week ``last``."""
    return (data.week == last + GAP + data.step) & (data.step <= HORIZON)


def forecast(data: Table, last: int, settings: Settings) -> Floats:
    """Fit on what a round knows, and forecast its two weeks."""
    # Each week is learned from once, one step ahead or two by turns.
    learned = (data.week <= last) & (data.week >= settings.first_week)
    brand = data.X[:, data.names.index("brand")].astype(np.int64)
    learned &= (data.week + brand + data.step) % 2 == 0
    log_units = np.log(data.units[learned])
    match settings.weight:
        case "usual":
            weight = np.exp(np.clip(data.usual[learned] - log_units, -settings.most, settings.most))
        case "root":
            weight = np.exp(-0.5 * log_units)
        case _:
            weight = np.ones(len(log_units))
    categories = [data.names.index(name) for name in ("store", "brand")]
    binned = lgb.Dataset(
        data.X[learned],
        log_units,
        weight=weight,
        categorical_feature=categories,
        params={"max_bin": 63, "feature_pre_filter": False},
    )
    found = []
    for seed in settings.seeds:
        booster = lgb.train({**PARAMS, **settings.params, "seed": seed}, binned, settings.trees)
        found.append(booster.predict(data.X[asked_in(data, last)]))
    return np.exp(np.mean(found, axis=0))


def percentage_error(forecasts: Floats, actual: Floats) -> float:
    """Mean of |forecast - actual| / actual, in per cent."""
    return float(100 * np.mean(np.abs(forecasts - actual) / actual))


def carried_forward(weeks_ago: int = 0) -> float:
    """Error of the last value known in each published round, or of the value so many weeks before the target."""
    frame = sales().select("store", "brand", "week", "units")
    ape = []
    for last in PUBLISHED:
        target = frame.filter(pl.col("week").is_between(last + 2, last + 3))
        if weeks_ago:
            past = frame.with_columns(pl.col("week") + weeks_ago).rename({"units": "forecast"})
            joined = target.join(past, on=["store", "brand", "week"], how="left")
        else:
            past = (
                frame.filter(pl.col("week") <= last)
                .sort("week")
                .group_by("store", "brand")
                .agg(pl.col("units").last().alias("forecast"))
            )
            joined = target.join(past, on=["store", "brand"], how="left")
        ape.append(
            joined.select(((pl.col("forecast") - pl.col("units")).abs() / pl.col("units")).alias("ape"))
        )
    return float(100 * pl.concat(ape)["ape"].mean())  # type: ignore[arg-type]


def run(data: Table, rounds: tuple[int, ...], settings: Settings, *, shown: bool = False) -> float:
    """Forecast rounds and return the error over all their pairs."""
    forecasts, actual = [], []
    for last in rounds:
        start = time.perf_counter()
        made, sold = forecast(data, last, settings), data.units[asked_in(data, last)]
        forecasts.append(made)
        actual.append(sold)
        if shown:
            seconds = time.perf_counter() - start
            print(
                f"known to {last}: {percentage_error(made, sold):6.2f} %  {len(sold)} pairs  {seconds:.0f} s",
                flush=True,
            )
    return percentage_error(np.concatenate(forecasts), np.concatenate(actual))


def main() -> None:
    """Run the published rounds, or the candidates on the rounds before."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--select", action="store_true", help="compare candidates on rounds before the published ones"
    )
    args = parser.parse_args()
    PARAMS["num_threads"] = args.threads
    start = time.perf_counter()
    data = table()
    print(f"{len(data.names)} features of {len(data.units):,} rows in {time.perf_counter() - start:.1f} s")
    if args.select:
        for name, settings in CANDIDATES.items():
            start = time.perf_counter()
            error = run(data, BEFORE, settings)
            print(f"{name:36s} {error:6.2f} %  {time.perf_counter() - start:4.0f} s", flush=True)
        return
    print(f"last value carried forward: {carried_forward():.2f} %")
    start = time.perf_counter()
    error = run(data, PUBLISHED, CHOSEN, shown=True)
    pairs = sum(int(asked_in(data, last).sum()) for last in PUBLISHED)
    print(f"LightGBM: {error:.2f} % of {pairs:,} pairs in {time.perf_counter() - start:.0f} s")
    print(dataclasses.asdict(CHOSEN))


if __name__ == "__main__":
    main()
