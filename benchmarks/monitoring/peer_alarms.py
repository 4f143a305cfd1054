"""Evidently's and NannyML's defaults on windows in which nothing changed; run by a Python that has both."""

from __future__ import annotations

import logging
import os
import warnings

import numpy as np
import pandas as pd
from made_up import columns

FEATURES = 200
REFERENCE_ROWS = 50_000
WINDOWS = {1_000: 20, 10_000: 5}


def evidently(reference: pd.DataFrame, windows: list[pd.DataFrame]) -> tuple[int, float]:
    from evidently import Report
    from evidently.presets import DataDriftPreset

    alarms, share = 0, 0.0
    for window in windows:
        told = Report([DataDriftPreset()]).run(window, reference).dict()["metrics"][0]["value"]
        alarms += told["count"] > 0
        share += told["share"] / len(windows)
    return alarms, share


def nannyml(reference: pd.DataFrame, windows: list[pd.DataFrame]) -> tuple[int, float]:
    import nannyml as nml

    methods = ["kolmogorov_smirnov", "jensen_shannon"]
    calculator = nml.UnivariateDriftCalculator(
        column_names=list(reference.columns), continuous_methods=methods, chunk_size=len(windows[0])
    )
    calculator.fit(reference)
    told = calculator.calculate(pd.concat(windows, ignore_index=True)).filter(period="analysis").to_df()
    alerts = told.loc[:, [c for c in told.columns if c[-1] == "alert"]].to_numpy(dtype=bool)
    return int(alerts.any(axis=1).sum()), float(alerts.mean())


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"  # what is measured is not its call home
    rng = np.random.default_rng(0)
    reference = pd.DataFrame(columns(rng, REFERENCE_ROWS, FEATURES))
    print(
        "| defaults of | rows a window | windows | with any column told | columns told |\n|---|---|---|---|---|"
    )
    for n, count in WINDOWS.items():
        windows = [pd.DataFrame(columns(rng, n, FEATURES)) for _ in range(count)]
        for name, run, against in (
            ("Evidently, all of the reference", evidently, reference),
            (f"Evidently, {min(n, 1000):,} rows of the reference", evidently, reference.head(min(n, 1000))),
            ("NannyML", nannyml, reference),
        ):
            alarms, share = run(against, windows)
            print(f"| {name} | {n:,} | {count} | {alarms / count:.0%} | {share:.1%} |", flush=True)


if __name__ == "__main__":
    main()
