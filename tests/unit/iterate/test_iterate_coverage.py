"""The coverage study of `benchmarks/experiments`, reduced: every kind of interval, fewer experiments, wider bounds."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest

_FILE = Path(__file__).resolve().parents[3] / "benchmarks" / "experiments" / "coverage.py"
if not _FILE.is_file():
    pytest.skip("benchmarks are not part of this distribution", allow_module_level=True)
_spec = importlib.util.spec_from_file_location("coverage_study", _FILE)
assert _spec is not None
assert _spec.loader is not None
study = importlib.util.module_from_spec(_spec)
sys.modules["coverage_study"] = study
_spec.loader.exec_module(study)

RUNS = 500


@pytest.mark.parametrize("number", range(len(study.STUDIES)))
def test_intervals_hold(number: int) -> None:
    room = 4 * math.sqrt(0.05 * 0.95 / RUNS)
    for row in study.STUDIES[number](RUNS, np.random.default_rng((2, number))):
        slack = 2e-4 if row.what == "false alarms" else room
        assert row.least - slack <= row.share <= row.most + slack, row
