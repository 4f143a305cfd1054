"""Files of results that somebody brings in for an experiment."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from charter.core.decision import Verdict
from charter.core.errors import DataError
from charter.flow import trial
from charter.flow.rolling import attempts
from charter.flow.trial import RESULTS, complete, newest, refuse_unreadable
from charter.registry.types import AuditEvent
from charter.spec.types import ExperimentSpec

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EXPERIMENT = ExperimentSpec(
    unit="client", arms={"a": 0.5, "b": 0.5}, control="a", metric="bought", mde="+10%"
)


def event(sequence: int, at: datetime, subject: str = "m-v2") -> AuditEvent:
    return AuditEvent(sequence, at, "ann", RESULTS, subject, {"digest": f"sha256:{sequence}"}, "", "")


@pytest.mark.parametrize(
    ("units", "nulls", "verdict"),
    [(100, 0, Verdict.PASS), (96, 0, Verdict.PASS), (94, 0, Verdict.UNKNOWN), (100, 10, Verdict.UNKNOWN)],
)
def test_a_file_must_tell_of_the_units_that_had_been_given_a_version(units, nulls, verdict):
    hour = timedelta(hours=1)
    exposed = pl.DataFrame(
        {
            "client": [str(i) for i in range(150)],
            "time": [(NOON + (hour if i >= 100 else -hour)).replace(tzinfo=None) for i in range(150)],
        }
    )
    bought = [None] * nulls + [1.0] * (units - nulls)
    table = pl.DataFrame({"client": [str(i) for i in range(units)], "bought": bought})
    found = complete(exposed, table, EXPERIMENT, event(3, NOON))
    assert found.verdict is verdict
    assert found.observed == f"{units - nulls:.1f}% of 100 units, file sha256:3"


def test_results_of_an_earlier_trial_of_the_same_name_are_not_this_ones():
    told = [event(1, NOON), event(5, NOON + timedelta(hours=2)), event(6, NOON + timedelta(hours=3), "m-v3")]
    records = SimpleNamespace(events=lambda: told)
    workspace = SimpleNamespace(records=lambda *_, **__: nullcontext(records))

    def of(since: datetime) -> AuditEvent | None:
        now = SimpleNamespace(
            deployment=SimpleNamespace(at=since),
            traffic=SimpleNamespace(name="m-v2"),
            loaded=SimpleNamespace(spec=SimpleNamespace(name="m")),
        )
        return newest(workspace, now)

    assert of(NOON + timedelta(hours=1)) == told[1]
    assert of(NOON + timedelta(hours=4)) is None


def test_attempts_are_those_of_this_model_and_version():
    def started(model: str, subject: str) -> AuditEvent:
        return AuditEvent(1, NOON, "ann", "rollout.started", subject, {"model": model}, "", "")

    told = [started("m", "v2"), started("other", "v2"), started("m", "v3"), started("m", "v2")]
    assert attempts(SimpleNamespace(events=lambda: told), "m", "v2") == 2


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"client": [1, 2], "bought": [1.0, float("inf")]}, "1 values that are not finite"),
        ({"client": [1, 2], "bought": [float("nan"), 1.0]}, "1 values that are not finite"),
        ({"client": ["1", "2"], "bought": ["inf", "0"]}, "1 values that are not finite"),
        ({"client": ["1", "2"], "bought": ["abc", "0"]}, "which is no number"),
        ({"client": [1, 2], "bought": [NOON, NOON]}, "a metric is a number"),
        ({"client": [1.0, 2.0], "bought": [1, 0]}, "no request names one like that"),
        ({"client": [True, False], "bought": [1, 0]}, "no request names one like that"),
        ({"client": [[1], [2]], "bought": [1, 0]}, "which no experiment is read by"),
        ({"client": [b"a", b"b"], "bought": [1, 0]}, "which no experiment is read by"),
        ({"client": [1, 2], "bought": [1, 0], "more": [{"a": 1}, None]}, "which no experiment is read by"),
    ],
)
def test_what_could_not_be_read_later_is_refused_before_it_is_kept(columns, why):
    with pytest.raises(DataError, match=why):
        refuse_unreadable(pl.DataFrame(columns), EXPERIMENT, Path("results.parquet"))


def test_whole_numbers_and_text_are_kept():
    for bought in ([1, 0, None], ["1", "", "true"], [True, None, False], [0.5, None, 1.0]):
        refuse_unreadable(
            pl.DataFrame({"client": ["a", "b", None], "bought": bought}), EXPERIMENT, Path("f.csv")
        )


@pytest.mark.parametrize(
    "damage", [DataError("column 'bought' holds 1 infinite numbers"), pl.exceptions.ComputeError("of lists")]
)
def test_results_that_cannot_be_read_leave_the_guards_to_be_judged(monkeypatch, damage):
    def broken(*_):
        raise damage

    monkeypatch.setattr(trial, "results", broken)
    spec = SimpleNamespace(release=SimpleNamespace(experiment=EXPERIMENT))
    report, decision = trial.read(SimpleNamespace(), SimpleNamespace(loaded=SimpleNamespace(spec=spec)))
    assert report is None
    assert decision.verdict is Verdict.UNKNOWN
    assert "cannot be read" in decision.checks[0].note
