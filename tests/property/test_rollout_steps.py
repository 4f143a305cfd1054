"""A rollout never skips a leg, never grows without a passed guard, and always ends."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from charter.core.decision import Check, Decision, Verdict
from charter.iterate.guards import Shown, Signals
from charter.iterate.rollout import Move, judge, legs, traffic_of
from charter.registry.traffic import Traffic
from charter.spec.types import ReleaseSpec

EXPERIMENT = {
    "unit": "customer", "arms": {"champion": 0.5, "candidate": 0.5}, "metric": "converted", "mde": "+10%"
}  # fmt: skip
stage = st.fixed_dictionaries(
    {
        "at_least": st.sampled_from(["0s", "1h"]),
        "at_most": st.sampled_from(["1h", "6h"]),
        "min_rows": st.integers(1, 500),
    }
)
steps = st.lists(st.sampled_from([0.01, 0.05, 0.2, 0.5]), min_size=1, unique=True).map(sorted)
guards = st.sampled_from(
    [{}, {"e": "error_share > 0.05"}, {"e": "error_share > 0.05", "l": "p95_latency_ms > 50"}]
)
rollouts = st.fixed_dictionaries(
    {"guards": guards, "canary": st.builds(lambda s, shares: {**s, "steps": shares}, stage, steps)},
    optional={"shadow": stage, "experiment": stage},
)
looks = st.lists(
    st.tuples(st.integers(0, 3000), st.floats(0, 0.2), st.sampled_from([5.0, 500.0]), st.integers(1, 180),
              st.sampled_from(list(Verdict))),
    min_size=1, max_size=12,
)  # fmt: skip


@given(rollouts, looks)
def test_a_rollout_goes_by_every_leg_and_ends(declared, looked):
    release = ReleaseSpec.model_validate({"rollout": declared, "experiment": EXPERIMENT})
    way = legs(release)
    place, traffic, since, clock, ended = 0, Traffic("full", "v1"), timedelta(0), timedelta(0), ""
    traffic = traffic_of(way[0], release, champion="v1", candidate="v2", name="m", before=traffic)
    share = 0.0
    # After the looks nobody looks for a week at a time: every leg must have ended by then.
    for requests, errors, latency, minutes, verdict in (
        *looked,
        *[(0, 0.0, 5.0, 10_080, Verdict.UNKNOWN)] * (len(way) + 1),
    ):
        clock += timedelta(minutes=minutes)
        leg = way[place]
        candidate = Shown(requests, round(errors * requests), np.full(requests, latency))
        signals = Signals(Shown(requests * 4), candidate)
        trial = Decision.of("experiment", [Check("x", "", "", verdict)], {"outcome": "ship"})
        move, decision = judge(leg, signals, elapsed=clock - since, confidence=0.95, experiment=trial)
        assert decision.checks
        if move is Move.HOLD:
            assert clock - since < leg.at_most
            continue
        if move is Move.GO_BACK:
            assert any(c.verdict is Verdict.FAIL for c in decision.checks)
            ended = "back"
            break
        assert leg.guards
        assert decision.allows
        assert all(c.verdict.allows for c in decision.checks)
        assert requests >= leg.min_rows
        assert clock - since >= leg.at_least
        place += 1
        if place == len(way):
            ended = "full"
            break
        traffic = traffic_of(way[place], release, champion="v1", candidate="v2", name="m", before=traffic)
        assert traffic.assignment is not None
        now = traffic.assignment.arms.shares["candidate"]
        assert now >= share
        share, since = now, clock
    assert ended in ("full", "back")
