"""Traffic says which version answers, and refuses what cannot be meant."""

from __future__ import annotations

import json
from typing import Any

import pytest

from charter.core.errors import UsageError
from charter.registry.allocation import Allocation
from charter.registry.assignment import Assignment, Slot
from charter.registry.traffic import Traffic


def _assignment(share: float, **more: Any) -> Assignment:
    return Assignment("try-v4", Allocation.of({"champion": 1 - share, "candidate": share}), **more)


ARMS = {"champion": "v3", "candidate": "v4"}
CANARY = Traffic("canary", "v3", "v4", "customer", _assignment(0.2), ARMS)


def test_units_keep_their_version_while_the_share_grows() -> None:
    grown = CANARY.assignment.arms.with_shares({"champion": 0.5, "candidate": 0.5})  # type: ignore[union-attr]
    later = Traffic("canary", "v3", "v4", "customer", Assignment("try-v4", grown), ARMS)
    now = {n: CANARY.version_for(n) for n in range(2000)}
    then = {n: later.version_for(n) for n in range(2000)}
    assert all(then[n] == ("v4", "candidate") for n in now if now[n][0] == "v4")
    assert 340 < sum(v == "v4" for v, _ in now.values()) < 460
    assert 900 < sum(v == "v4" for v, _ in then.values()) < 1100


def test_who_has_no_arm_gets_the_champion() -> None:
    kept_out = _assignment(1.0, excluded=frozenset({"tester"}), holdout=Slot("held", 0, 500_000))
    traffic = Traffic("canary", "v3", "v4", None, kept_out, ARMS)
    answers = {traffic.version_for(n) for n in range(100)}
    assert answers == {("v3", None), ("v4", "candidate")}
    assert {traffic.version_for(n) for n in ("tester", "", None)} == {("v3", None)}
    layer = _assignment(1.0, layer=Slot("layer", 0, 1))
    elsewhere = Traffic("canary", "v3", "v4", None, layer, ARMS)
    assert {elsewhere.version_for(n) for n in range(100)} == {("v3", None)}


def test_strata_have_shares_of_their_own() -> None:
    dealt = _assignment(0.0, strata={"EU": Allocation.of({"candidate": 1.0})})
    traffic = Traffic("canary", "v3", "v4", "id", dealt, {"champion": "v3", "candidate": "v4"}, "", "region")
    assert traffic.version_for(1, "EU") == ("v4", "candidate")
    assert traffic.version_for(1, "US") == traffic.version_for(1) == ("v3", "champion")


@pytest.mark.parametrize(
    "traffic",
    [CANARY, Traffic("full", "v3"), Traffic("stopped", "v3"), Traffic("shadow", "v3", "v4", name="try")],
    ids=lambda t: t.stage,
)
def test_traffic_comes_back_from_its_json(traffic: Traffic) -> None:
    assert Traffic.from_json(json.loads(json.dumps(traffic.to_json()))) == traffic


def test_versions_begin_with_the_champion() -> None:
    assert CANARY.versions == ("v3", "v4")
    assert Traffic("stopped", "v3").versions == ("v3",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stage": "half"}, "traffic.stage is 'half'; allowed: full, shadow, canary, experiment, stopped"),
        ({"champion": ""}, "traffic.champion is empty"),
        ({"candidate": None}, "must name the version that is tried"),
        ({"stage": "full", "assignment": None}, "must be left out"),
        ({"candidate": "v3"}, "which is the champion"),
        ({"assignment": None}, "traffic.assignment is needed in the stage canary"),
        ({"stage": "shadow"}, "traffic.assignment must be left out in the stage shadow"),
        ({"arms": {"champion": "v3"}}, "traffic.arms lacks 'candidate'"),
        ({"arms": {"champion": "v3", "candidate": "v4", "shadow": "v4"}}, "'shadow' stands for answers"),
        ({"schema_version": 9}, "traffic has schema_version 9"),
        ({"arms": 3}, "traffic lacks or garbles"),
        ({"assignment": {"salt": "s"}}, "traffic lacks or garbles 'holdout'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match="traffic") as caught:
        Traffic.from_json({**CANARY.to_json(), **change})
    assert said in str(caught.value)
