"""A rule on what is not measured is refused, with what was meant."""

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
      columns:
        {id: {type: integer}, at: {type: datetime}, age: {type: float}, sex: {type: category, values: [f, m]},
         y: {type: category, values: [0, 1]}}
  observations: {source: rows, key: [id], time: at}
  label: {column: y, positive: 1, known_after: 30d}
features: {exclude: [sex], rows: {years: "age / 1"}}
train: {task: TASK, learners: [lightgbm], split: {kind: time, train_until: latest - 120d, test_from: latest - 90d}}
kpis: {arrears: {source: external, require: "<= 5"}}
monitor: {drift: DRIFT, alerts: {own: {when: "RULE"}}}
"""


def fault(rule: str, task: str = "binary", drift: str = "{}") -> str:
    text = TEXT.replace("RULE", rule).replace("TASK", task).replace("DRIFT", drift)
    if task != "binary":
        text = text.replace("y: {type: category, values: [0, 1]}", "y: {type: float}").replace(
            ", positive: 1", ""
        )
    try:
        loads(text)
    except SpecError as error:
        (problem,) = error.problems
        assert ".".join(map(str, problem.path)) == "monitor.alerts.own.when"
        return f"{problem.message}; {problem.hint}"
    return ""


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("p95_latncy_ms > 150", "p95_latncy_ms is no measure; did you mean p95_latency_ms?"),
        ("psi(agee) > 0.2", "psi(agee): agee is no column that the model is given; did you mean age?"),
        ("psi(sex) > 0.2", "psi(sex): sex is no column"),
        ("psi(id) > 0.2", "psi(id): id is no column"),
        ("psi > 0.2", "psi needs to be of something; write for example psi(any)"),
        ("rows(age) > 2", "rows is of nothing in brackets; write rows"),
        ("recal < 0.5", "recal is no measure; did you mean recall?"),
        ("recall < 0.5 when maturty > 0.5", "maturty is no measure; did you mean maturity?"),
        ("high(recal) < 0.5", "recal is no metric that is measured; did you mean recall?"),
        ("estimated(expected_calibration_error) > 0.1", "is no metric that is measured"),
        ("kpi(arears) > 5", "arears is no key figure that comes from outside; did you mean arrears?"),
        ("concept_drift(adwn) > 0", "adwn is no detector; did you mean adwin?"),
        (
            "psi_year_ago(age) > 0.2",
            "psi_year_ago is not measured; add year_ago to monitor.drift.also_against",
        ),
        ("net_value_per_month < 5", "no value is stated; state value.per_decision"),
        ("wmape_at(1-2) > 0.2", "wmape_at is not measured of a binary task; it is of forecast"),
        ("root_mean_squared_error > 2", "root_mean_squared_error is not measured of this model"),
    ],
)
def test_what_no_window_will_hold_is_refused(rule: str, said: str) -> None:
    assert said in fault(rule)


@pytest.mark.parametrize(
    "rule",
    ["psi(any) > 0.2", "psi(years) > 0.2", "ks(score) > 0.2", "low(calibration_slope) > 1.2 when rows > 100",
     "kpi(arrears) > 5", "estimation_error(recall) < 0", "drifted_columns > 1", "error_share > 0.1"],
)  # fmt: skip
def test_what_a_window_may_hold_is_taken(rule: str) -> None:
    assert fault(rule) == ""


def test_what_is_measured_depends_on_the_task_and_on_what_is_compared() -> None:
    assert fault("psi_year_ago(age) > 0.2", drift="{also_against: [year_ago]}") == ""
    assert "stands in monitor.drift.ignore" in fault("psi(age) > 0.2", drift="{ignore: [age]}")
    assert fault("estimated(mean_absolute_error) > 2", task="regression") == ""
    assert "is not measured of a regression task" in fault("calibration_slope > 2", task="regression")


def test_conditions_of_retraining_are_held_against_the_same_words() -> None:
    text = TEXT.replace("TASK", "binary").replace("DRIFT", "{}").replace("RULE", "rows > 5")
    with pytest.raises(SpecError, match="did you mean psi"):
        loads(text + 'retrain: {when: {moved: "psy(any) > 0.2"}}\n')
