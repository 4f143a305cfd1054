"""Who is held to account for which answer of a canary."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from charter.flow.arms import signals
from charter.iterate.guards import Signals
from charter.registry.allocation import Allocation
from charter.registry.assignment import Assignment
from charter.registry.traffic import Traffic

HALF = Assignment("rollout", Allocation.of({"champion": 0.5, "candidate": 0.5}))
TRAFFIC = Traffic("canary", "v1", "v2", None, HALF, {"champion": "v1", "candidate": "v2"})
ROWS = pl.DataFrame(
    [
        ("a", 0, "v1", "champion", 0.1, False),
        ("b", 0, "v2", "candidate", 0.2, False),
        ("c", 0, "v2", "candidate", None, True),  # it failed, told so, and the champion stood in
        ("c", 0, "v1", "candidate", 0.3, False),
        ("d", 0, "v1", "candidate", 0.4, False),  # it refused the request, which stands nowhere else
        ("e", 0, "v1", None, 0.5, False),
    ],
    schema={"id": pl.String, "row": pl.UInt32, "version": pl.String, "arm": pl.String, "score": pl.Float64,
            "fallback": pl.Boolean},
    orient="row",
).with_columns(
    stage=pl.lit("canary"),
    decision=pl.lit("negative"),
    latency_us=pl.lit(1000),
    time=pl.lit(datetime(2026, 1, 1)),  # noqa: DTZ001  as the log has it
)  # fmt: skip


@pytest.fixture
def seen(monkeypatch, tmp_path):
    def judged(rows: pl.DataFrame, traffic: Traffic = TRAFFIC, **declared: Any) -> Signals:
        monkeypatch.setattr("charter.serve.log_reader.scan", lambda *_, **__: rows.lazy())
        data = SimpleNamespace(observations=SimpleNamespace(entity=None))
        release = SimpleNamespace(**{"rollout": None, "experiment": None, **declared})
        spec = SimpleNamespace(name="m", value=None, release=release, data=data)
        return signals(SimpleNamespace(state=tmp_path), spec, traffic, datetime(2026, 1, 1, tzinfo=UTC))

    return judged


def test_what_a_candidate_refuses_is_its_error(seen):
    found = seen(ROWS)
    assert (found.candidate.requests, found.candidate.errors) == (3, 2)
    assert found.candidate.score.tolist() == [0.2]
    assert found.candidate.latency_ms.tolist() == [1.0, 1.0, 1.0]
    assert (found.champion.requests, found.champion.errors) == (1, 0)
    assert found.meant is None


def test_a_row_that_is_there_twice_counts_once(seen):
    found = seen(pl.concat([ROWS, ROWS.filter(pl.col("version") == "v2")]))
    assert (found.candidate.requests, found.candidate.score.tolist()) == (3, [0.2])


def test_requests_of_one_unit_are_no_independent_draws(seen):
    by_unit = replace(TRAFFIC, unit="client")
    assert seen(ROWS).candidate.draws.requests == 3
    told = ROWS.with_columns(input_client=pl.Series([1, 2, 3, 3, 3, None]))
    assert seen(told, by_unit).candidate.draws.requests == pytest.approx(9 / 5)
    assert seen(ROWS, by_unit).candidate.draws.requests == 1


def test_a_shadow_has_the_units_of_the_stages_after_it(seen):
    both = [(i, 0, v, a, 0.1, False) for i in "abc" for v, a in (("v1", None), ("v2", "shadow"))]
    known = {c: ROWS.schema[c] for c in ROWS.columns[:6]}
    rows = pl.DataFrame(both, schema=known, orient="row").with_columns(
        stage=pl.lit("shadow"), decision=pl.lit("negative"), latency_us=pl.lit(1000),
        time=pl.lit(datetime(2026, 1, 1)),  # noqa: DTZ001  as the log has it
        input_client=pl.Series([7, None, 7, 7, 8, 8]),
    )  # fmt: skip
    shadow = Traffic("shadow", "v1", "v2")
    rollout = SimpleNamespace(unit=None, experiment=object())
    found = seen(rows, shadow, rollout=rollout, experiment=SimpleNamespace(unit="client"))
    assert found.candidate.draws.requests == found.draws == pytest.approx(9 / 5)
    assert seen(rows, shadow).draws == 3


def test_strata_with_shares_of_their_own_are_not_expected_to_give_more(seen):
    tenth = Allocation.of({"champion": 0.9, "candidate": 0.1})
    dealt = replace(HALF, strata={"vip": tenth})
    strata = replace(TRAFFIC, assignment=dealt, stratum="kind")
    own = ROWS.head(1)
    many = pl.concat(
        [own.with_columns(id=pl.lit(f"{kind}{i}"), input_kind=pl.lit(kind))
         for kind, n in (("vip", 90), ("other", 10)) for i in range(n)]
    )  # fmt: skip
    # 90 of 100 vips and 10 of 20 others went to the champion: 10 + 10 of 120 were meant for the candidate.
    assert seen(many, strata).meant == pytest.approx(20 / 120)
    assert seen(many.drop("input_kind"), strata).meant == 0.1
