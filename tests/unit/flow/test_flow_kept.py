"""What is told of windows that were measured."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from charter.core.clock import ManualClock
from charter.flow.kept import kept_windows, monitor_folder
from charter.flow.workspace import Workspace

MONDAY = datetime(2026, 3, 2, tzinfo=UTC).replace(tzinfo=None)
RATES = {"net_value_per_month": 10.0, "benefit_per_month": 20.0}


def window(folder: Path, version: str, start: datetime, answered_from: datetime) -> None:
    path = folder / "windows" / version / f"{start:%Y-%m-%d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {"version": version, "key": "k", "start": start, "end": start + timedelta(days=7)}
    kept |= {"answered_from": answered_from, "measures": RATES | {"recall": 0.5}}
    path.write_text(json.dumps(kept, default=datetime.isoformat))


@pytest.mark.parametrize(
    ("began", "now", "told"),
    [
        pytest.param(timedelta(hours=9), timedelta(days=14), [True, True], id="whole weeks"),
        pytest.param(timedelta(days=3), timedelta(days=14), [False, True], id="released on a Thursday"),
        pytest.param(timedelta(hours=9), timedelta(days=9), [True, False], id="looked at on a Wednesday"),
    ],
)
def test_values_a_month_are_told_of_whole_windows_only(
    tmp_path: Path, began: timedelta, now: timedelta, told: list[bool]
) -> None:
    (tmp_path / "model.yaml").touch()
    workspace = replace(Workspace.at(tmp_path), clock=ManualClock((MONDAY + now).replace(tzinfo=UTC)))
    folder = monitor_folder(workspace, "loans")
    second = MONDAY + timedelta(days=7)
    window(folder, "v1", MONDAY, MONDAY + began)
    window(
        folder, "v1", second, second + timedelta(days=2)
    )  # a quiet Monday and Tuesday are part of the week
    found = [w["measures"] for w in kept_windows(workspace, "loans")]
    assert [measures["recall"] for measures in found] == [0.5, 0.5]
    assert [set(measures) >= set(RATES) for measures in found] == told
