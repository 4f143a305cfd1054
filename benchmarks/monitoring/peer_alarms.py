"""Evidently's and NannyML's defaults on windows in which nothing changed; run by a Python that has both.

    PYTHON benchmarks/monitoring/peer_alarms.py [--quick]

The features are those of ``false_alarms.py``. Evidently's report draws every column, which takes most of its time, so
its default tests are called as the report calls them, without the drawing; on the first window of each kind (not of
100,000 rows) the report itself is run, and must tell as many columns.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings

import numpy as np
import pandas as pd
from made_up import mixed

REFERENCE_ROWS = 50_000
WINDOWS = {1_000: 100, 10_000: 30, 100_000: 5}
NEW_REFERENCE_EVERY = 50


def evidently_tests(reference: pd.DataFrame, window: pd.DataFrame) -> set[str]:
    """Columns that Evidently's default tests tell."""
    from evidently.legacy.calculations.stattests.registry import get_stattest
    from evidently.legacy.core import ColumnType

    told = set()
    for name in reference:
        a, b = reference[name].dropna(), window[name].dropna()
        kind = ColumnType.Numerical if pd.api.types.is_numeric_dtype(a) else ColumnType.Categorical
        test = get_stattest(a, b, kind, None)
        if test(a, b, kind, None).drifted:
            told.add(name)
    return told


def evidently_report(reference: pd.DataFrame, window: pd.DataFrame) -> int:
    """How many columns Evidently's report tells."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    numbers = [c for c in reference if pd.api.types.is_numeric_dtype(reference[c])]
    definition = DataDefinition(
        numerical_columns=numbers, categorical_columns=[c for c in reference if c not in numbers]
    )
    a, b = (Dataset.from_pandas(f, data_definition=definition) for f in (reference, window))
    told = Report([DataDriftPreset()]).run(b, a).dict()["metrics"][0]["value"]
    return int(told["count"])


def nannyml(reference: pd.DataFrame, windows: list[pd.DataFrame]) -> tuple[int, float]:
    """Windows with any alert, and the mean share of columns with one."""
    import nannyml as nml

    calculator = nml.UnivariateDriftCalculator(
        column_names=list(reference.columns), chunk_size=len(windows[0])
    )
    calculator.fit(reference)
    told = calculator.calculate(pd.concat(windows, ignore_index=True)).filter(period="analysis").to_df()
    alerts = told.loc[:, [c for c in told.columns if c[-1] == "alert"]].to_numpy(dtype=bool)
    return int(alerts.any(axis=1).sum()), float(alerts.mean())


def show(name: str, n: int, count: int, alarms: int, share: float, began: float) -> None:
    print(f"| {name} | {n:,} | {count} | {alarms / count:.1%} | {share:.2%} |", flush=True)
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"  # what is measured is not its call home
    quick = "--quick" in sys.argv[1:]
    print(
        "| defaults of | rows a window | windows | with any column told | columns told |\n|---|---|---|---|---|"
    )
    for n, whole in WINDOWS.items():
        count = min(whole, 5) if quick else whole
        names = {
            "NannyML": None,
            "Evidently, all of the reference": REFERENCE_ROWS,
            "Evidently, 1,000 rows of it": 1000,
        }
        for name, rows in names.items():
            if rows is None and n > REFERENCE_ROWS // 5:
                continue  # its limits need several chunks of the reference
            began, alarms, share = time.perf_counter(), 0, 0.0
            rng = np.random.default_rng((0, n))
            for first in range(0, count, NEW_REFERENCE_EVERY):
                reference = pd.DataFrame(mixed(rng, REFERENCE_ROWS))
                size = min(NEW_REFERENCE_EVERY, count - first)
                windows = (pd.DataFrame(mixed(rng, n)) for _ in range(size))
                if rows is None:
                    some, part = nannyml(reference, list(windows))
                    alarms, share = alarms + some, share + part * size / count
                    continue
                for i, window in enumerate(windows):
                    told = evidently_tests(reference.head(rows), window)
                    if first + i == 0 and n < 100_000:
                        assert evidently_report(reference.head(rows), window) == len(told), name
                    alarms, share = alarms + bool(told), share + len(told) / len(reference.columns) / count
            show(name, n, count, alarms, share, began)


if __name__ == "__main__":
    main()
