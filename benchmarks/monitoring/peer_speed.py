"""Peers on the same files; run by a Python that has Evidently, NannyML and ydata-profiling."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd


def timed(name: str, work: Callable[[], object]) -> None:
    began = time.perf_counter()
    work()
    print(f"| {name} | {time.perf_counter() - began:.1f} |", flush=True)


def nannyml(a: pd.DataFrame, b: pd.DataFrame) -> None:
    import nannyml as nml

    calculator = nml.UnivariateDriftCalculator(
        column_names=list(a.columns),
        continuous_methods=["kolmogorov_smirnov", "jensen_shannon"],
        chunk_number=1,
    )
    calculator.fit(a)
    calculator.calculate(b)


def evidently(a: pd.DataFrame, b: pd.DataFrame) -> None:
    from evidently import Report
    from evidently.presets import DataDriftPreset

    Report([DataDriftPreset()]).run(b, a).dict()


def ydata(frame: pd.DataFrame, to: Path, *, minimal: bool) -> None:
    from ydata_profiling import ProfileReport

    ProfileReport(frame, minimal=minimal, progress_bar=False).to_file(to)


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"  # what is measured is not its call home
    folder, only, slow = Path(sys.argv[1]), sys.argv[2].split(","), "slow" in sys.argv[3:]
    if "drift" in only:
        a, b = (pd.read_parquet(folder / f"{name}.parquet") for name in ("a", "b"))
        timed("NannyML, Kolmogorov-Smirnov and Jensen-Shannon, in memory", lambda: nannyml(a, b))
        if slow:
            timed("Evidently, DataDriftPreset, in memory", lambda: evidently(a, b))
    if "profile" in only:
        cards = pd.read_parquet(folder / "cards.parquet")
        timed(
            "ydata-profiling, minimal mode, in memory",
            lambda: ydata(cards, folder / "minimal.html", minimal=True),
        )
        if slow:
            timed(
                "ydata-profiling, full mode, in memory",
                lambda: ydata(cards, folder / "full.html", minimal=False),
            )


if __name__ == "__main__":
    main()
