"""What the servers' own metrics say, and key figures from outside."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest

from charter.core.errors import DataError, UsageError
from charter.monitor.io.server import ask, keep, kept
from charter.monitor.kpis import newest, read_kpis
from charter.monitor.server import Sample, operations_of, read_sample
from charter.serve.metrics import Metrics
from charter.serve.processes import announce, read_process, workers
from charter.spec.types import Kpi


def test_a_server_tells_of_its_memory_processor_time_and_age():
    metrics = Metrics()
    for status, seconds in ((200, 0.003), (200, 0.004), (500, 0.2)):
        metrics.request("loans", status, seconds)
    metrics.request("others", 200, 1.0)
    found = read_sample(metrics.text().decode(), "loans", "2026-03-01T00:00:00Z")
    assert found.requests == {"200": 2.0, "500": 1.0}
    assert (found.seconds["0.005"], found.seconds["+Inf"]) == (2.0, 3.0)
    assert found.memory_bytes > 10 << 20
    assert list(found.cpu_seconds) == list(found.started) == [str(os.getpid())]
    assert found.cpu_seconds[str(os.getpid())] > 0


def test_workers_are_the_living_with_the_same_parent(tmp_path):
    """Files of dead workers, and of numbers that belong to others by now, are no workers."""
    own, parent = os.getpid(), os.getppid()
    announce(tmp_path)
    for pid in (parent, 2**22 + 1):
        (tmp_path / f"worker_{pid}.pid").touch()
    assert [p.pid for p in workers(tmp_path)] == [own]
    assert read_process(own).started < datetime.now(UTC).timestamp()
    assert read_process(own, tmp_path) is None
    assert workers(None, tmp_path) == []


def sample(minute: int, **values: object) -> Sample:
    return Sample(f"2026-03-01T00:{minute:02}:00Z", **{"reached": True, **values})


def test_counters_are_held_against_the_look_before_and_may_begin_anew():
    began = datetime(2026, 2, 28, 23, tzinfo=UTC).timestamp()
    looks = [
        sample(0, requests={"200": 100.0}, cpu_seconds={"1": 50.0}, started={"1": began}),
        sample(1, requests={"200": 140.0, "422": 10.0, "503": 10.0}, cpu_seconds={"1": 80.0}, started={"1": began}),
        sample(
            2, requests={"200": 30.0, "503": 10.0}, cpu_seconds={"2": 6.0}, started={"2": began + 3660},
            memory_bytes=3 * 2**20, seconds={"0.01": 95.0, "0.1": 100.0, "+Inf": 100.0},
        ),
    ]  # fmt: skip
    found = operations_of(looks)
    assert found == pytest.approx(
        {
            "reached_share": 1.0, "instances": 1.0, "memory_mb": 3.0, "uptime_hours": 1 / 60,
            "requests_per_second": (50 + 10 + 30) / 120, "cpu_cores": 36 / 120, "error_share": 10 / 90,
            "refused_share": 10 / 90, "served_p95_ms": 10.0,
        }
    )  # fmt: skip
    gone = operations_of([looks[0], Sample("2026-03-01T00:03:00Z", reached=False)])
    assert gone == {"reached_share": 0.5, "instances": 0.0}


def test_a_server_that_does_not_answer_is_kept_as_an_answer(tmp_path):
    now = datetime(2026, 3, 1, tzinfo=UTC)
    keep(tmp_path, ask("http://127.0.0.1:9/metrics", "loans", now))
    (found,) = kept(tmp_path)
    assert found == Sample("2026-03-01T00:00:00.000000Z", reached=False)
    with pytest.raises(UsageError, match="--metrics-url"):
        ask("file:///etc/passwd", "loans", now)


TODAY = date(2026, 3, 1)


class Spec:
    """Only what is read of a specification."""

    kpis: ClassVar = {
        "revenue": Kpi(source="external", require=">= 5"),
        "auc": Kpi(metric="roc_auc", require=">= 0.7"),
    }


def test_key_figures_are_read_with_or_without_their_name(tmp_path: Path):
    rows = pl.DataFrame({"date": ["2026-01-01", "2026-02-01"], "value": ["4", "6.5"]})
    expected = {"revenue": {"2026-01-01": 4.0, "2026-02-01": 6.5}}
    assert read_kpis(rows, Spec, name="revenue", until=TODAY) == expected
    named = rows.with_columns(pl.col("date").str.to_date(), kpi=pl.lit("revenue"))
    assert read_kpis(named, Spec, until=TODAY) == expected
    moments = rows.with_columns(date=pl.Series(["2026-01-01T00:00:00Z", "2026-02-01 00:00"]))
    assert read_kpis(moments, Spec, name="revenue", until=TODAY) == expected
    assert newest(expected, date(2026, 2, 1)) == {"revenue": ("2026-01-01", 4.0)}
    assert newest(expected, date(2026, 1, 1)) == {}


@pytest.mark.parametrize(
    ("rows", "name", "said"),
    [
        ({"date": ["2026-01-01"], "value": [1]}, None, "no column 'kpi'"),
        ({"day": ["2026-01-01"], "value": [1]}, "revenue", "no column 'date'"),
        ({"date": ["2026-01-01"], "value": [1]}, "auc", "'auc' is no key figure that comes from outside"),
        ({"date": ["2026-01-01", "soon"], "value": ["1", "2"]}, "revenue", "1 of 2 rows"),
        ({"date": ["2026-01-01"], "value": ["much"]}, "revenue", "1 of 1 rows"),
        ({"date": ["2026-01-01"] * 2, "value": [1, 2]}, "revenue", "two values"),
        ({"date": ["2026-01-01xx=cmd|calc"], "value": [1]}, "revenue", "no day that has come"),
        ({"date": ["2999-03-02"], "value": [1]}, "revenue", "no day that has come"),
        ({"date": ["0001-01-01"], "value": [1]}, "revenue", "no day that has come"),
        ({"date": ["2026-01-01"], "value": [{"a": 1}]}, "revenue", "'value' is of type Struct"),
        ({"date": [b"\xff"], "value": [1]}, "revenue", "'date' is of type Binary"),
    ],
)
def test_what_is_no_key_figure_is_refused_whole(rows, name, said):
    with pytest.raises(DataError, match=said):
        read_kpis(pl.DataFrame(rows), Spec, name=name, until=TODAY)
