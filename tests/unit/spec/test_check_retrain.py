"""What can be known to be wrong with retraining before anything is trained."""

from __future__ import annotations

import pytest

from charter.core.errors import SpecError
from charter.spec.loader import loads

TEXT = """\
spec_version: 1
name: tiny
summary: Small
owner: {team: t, contact: t@example.org}
purpose: {problem: p, objective: o, decision: d, users: [u], today: {process: none}}
data:
  sources:
    rows:
      uri: rows.csv
      columns: {id: {type: integer}, at: {type: datetime}, x: {type: float}, y: {type: category, values: [0, 1]}}
  observations: {source: rows, key: [id], time: at}
  label: {column: y, positive: 1, known_after: 30d}
train:
  task: binary
  split: {kind: time, train_until: latest - 120d, test_from: latest - 90d}
  learners: [logistic_regression]
monitor: {alerts: {moved: {when: "psi(any) > 0.2", action: retrain}}}
retrain: {RETRAIN}
"""


def faults(retrain: str, old: str = "", new: str = "") -> list[str]:
    text = TEXT.replace("RETRAIN", retrain)
    assert old in text
    try:
        loads(text.replace(old, new) if old else text)
    except SpecError as error:
        return [f"{'.'.join(map(str, p.path))} {p.message}; {p.hint}" for p in error.problems]
    return []


def test_a_whole_policy_is_sound():
    when = '{low: "recall < 0.7 when maturity > 0.8"}'
    assert (
        faults(f"every: 30d, when: {when}, max_age: 180d, new_rows: 5, budget: {{runs: 2, per: quarter}}")
        == []
    )


@pytest.mark.parametrize(
    ("retrain", "said"),
    [
        ("every: 1d, cooldown: 2d", "retrain.every is 1d, which the cooldown of 2d holds back"),
        ("max_age: 0d", "retrain.max_age is nothing, so it always holds"),
        ('when: {age: "rows > 5"}', "retrain.when.age is a name of Charter's own"),
        ('when: {budget: "rows > 5"}', "retrain.when.budget is a name of Charter's own"),
        ('when: {moved: "rows > 5"}', "retrain.when.moved is an alert whose action is retrain"),
        ("challenger: shadow", "retrain.challenger is shadow, but release.rollout has no shadow stage"),
        ('when: {low: "recall under 0.7"}', "must read like"),
        ("budget: {runs: 0}", "retrain.budget.runs must be at least 1"),
        ("new_rows: 0", "retrain.new_rows must be at least 1"),
    ],
)
def test_faults_are_told(retrain, said):
    (found,) = faults(retrain)
    assert said in found


def test_a_window_that_stands_still_is_told():
    dates = "train_until: 2025-01-01, test_from: 2025-03-01"
    old = "train_until: latest - 120d, test_from: latest - 90d"
    (found,) = faults("max_age: 90d", old, dates)
    assert "retraining would never see a newer row" in found
    following = "train_until: latest - 89d, test_from: latest - 30d"
    assert following in found
    assert faults("max_age: 90d", old, following) == [], "what is suggested can be written"
    assert faults("cooldown: 2d", old, dates) == [], "a person may still ask, after moving the dates"


def test_an_alert_that_calls_for_training_has_a_name_of_its_own():
    (found,) = faults("max_age: 90d", "moved", "budget")
    assert found.startswith("monitor.alerts.budget is a name of Charter's own")


def test_what_is_tolerated_is_required():
    release = "release: {redeploy: {tolerate: {brier_score: 0.1}}}\n"
    (found,) = faults("max_age: 90d", "monitor:", release + "monitor:")
    assert "release.redeploy.tolerate.brier_score is not required" in found
