"""Files of results that somebody brings in for an experiment."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import polars as pl
import pytest

from charter.core.decision import Verdict
from charter.flow.rolling import attempts
from charter.flow.trial import RESULTS, complete, newest
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
