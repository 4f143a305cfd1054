"""A driver of the story that is killed comes to the same end; `benchmarks/rollout/kill.py` kills it fifty times."""

from __future__ import annotations

from collections import Counter

from e2e_killed import Kill, Killed, tell
from e2e_story import Loans, begun

KILLS = (
    Kill("apply", 0, point=101),
    Kill("approve", 1, point=4),
    Kill("retrain", 0, point=200),
    Kill("rollout start", 0, point=3),
    Kill("schedule", 1, point=5),  # the way back, with its incident
    Kill("experiment results", 0, point=3),
    Kill("schedule", 4, point=5),  # to full traffic
)


def test_a_second_year_whose_driver_is_killed_comes_to_the_same_end(dying, tmp_path, monkeypatch):
    monkeypatch.setenv("CHARTER_HOME", str(tmp_path / "home"))
    world = Loans()
    killed = Killed(tmp_path / "killed" / "model", dying, KILLS)
    found = tell(killed, world, begun(world, tmp_path / "begun"))
    assert killed.died == list(KILLS)
    assert [status for *_, status in found["versions"]] == ["retired", "retired", "released"]
    assert [version for version, *_ in found["deployed"]] == [1, 1, 1, 1, 1, 1, 1, 3]
    assert found["signed"] == [[["final", "chief-data-officer"], ["technical", "ml-engineer"]]] * 3
    told = Counter(action for action, _ in found["told"])
    assert [told[f"retrain.{a}"] for a in ("started", "finished")] == [1, 1]
    assert (told["incident.opened"], len(found["incidents"])) == (1, 1)
