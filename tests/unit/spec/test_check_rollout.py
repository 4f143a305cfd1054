"""What is wrong with a rollout before it begins."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from charter.spec.check import find
from charter.spec.notices import notices
from charter.spec.parts import part_digests, part_of
from charter.spec.types import ModelSpec

GUARDS = {"errors": "error_share > 0.01"}
EXPERIMENT = {
    "unit": "id", "arms": {"champion": 0.5, "candidate": 0.5}, "metric": "converted", "mde": "+10%"
}  # fmt: skip


def spec(release: dict[str, Any], **more: Any) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "name": "m",
            "summary": "s",
            "owner": {"team": "t", "contact": "c@example.org"},
            "purpose": {"problem": "p", "objective": "o", "decision": "d", "users": ["u"], "today": {"process": "p"}},
            "data": {
                "sources": {"s": {"uri": "s.csv", "key": ["id"], "columns": {
                    "id": {"type": "integer"}, "x": {"type": "float"},
                    "y": {"type": "category", "values": ["0", "1"]}}}},
                "observations": {"source": "s", "key": ["id"]},
                "label": {"name": "late", "column": "y", "positive": "1"},
            },
            "train": {"task": "binary", "split": {"kind": "random", "test": 0.3}, "learners": ["logistic_regression"]},
            "release": release,
            **more,
        }
    )  # fmt: skip


def faults(release: dict[str, Any], **more: Any) -> str:
    found = [f for f in find(spec(release, **more)) if f.path[0] == "release"]
    return "\n".join(f"{'.'.join(map(str, f.path))} {f.message}" for f in found)


@pytest.mark.parametrize(
    ("release", "said"),
    [
        ({"rollout": {"shadow": {}, "guards": GUARDS}}, ""),
        ({"rollout": {"guards": GUARDS}}, "has no stage"),
        ({"rollout": {"shadow": {}}}, "has no guard, so it would never be left"),
        (
            {"rollout": {"shadow": {"at_least": "2d", "at_most": "1d"}, "guards": GUARDS}},
            "less than at_least",
        ),
        ({"rollout": {"canary": {"steps": [0.5, 0.1]}, "guards": GUARDS}}, "must grow"),
        ({"rollout": {"canary": {}, "guards": {"d": "disagreement > 0.1"}}}, "only a shadow stage"),
        ({"rollout": {"canary": {}, "guards": {"d": "value_drop > 0.1"}}}, "no value is stated"),
        ({"rollout": {"experiment": {}, "guards": GUARDS}}, "needs release.experiment"),
        ({"experiment": EXPERIMENT | {"metric": "value"}}, "metric value needs 'value'"),
        ({"experiment": EXPERIMENT | {"guardrails": {"value / x": "-1%"}}}, "value / x needs 'value'"),
        (
            {
                "rollout": {"experiment": {}, "guards": GUARDS},
                "experiment": {**EXPERIMENT, "sequential": False},
            },
            "reads the results at every step",
        ),
        (
            {"rollout": {"experiment": {}, "unit": "x", "guards": GUARDS}, "experiment": EXPERIMENT},
            "the experiment's is id",
        ),
        (
            {
                "rollout": {"experiment": {}, "guards": GUARDS},
                "experiment": {**EXPERIMENT, "arms": {"champion": 0.4, "candidate": 0.3, "third": 0.3}},
            },
            "compares two versions",
        ),
        (
            {
                "rollout": {"canary": {}, "experiment": {}, "guards": GUARDS},
                "experiment": {**EXPERIMENT, "arms": {"champion": 0.9, "candidate": 0.1}},
            },
            "less than the canary's last step",
        ),
        ({"experiment": {**EXPERIMENT, "strata": {"EU": {"champion": 1.0}}}}, "needs 'stratum'"),
        (
            {"experiment": {**EXPERIMENT, "stratum": "x", "strata": {"EU": {"other": 1.0}}}},
            "not one of the arms",
        ),
        (
            {"experiment": {**EXPERIMENT, "holdout": {"salt": "a", "start": 0.5, "stop": 0.5}}},
            "not after its start",
        ),
        (
            {"experiment": {**EXPERIMENT, "holdout": {"salt": "a"}, "layer": {"salt": "a"}}},
            "ties the two together",
        ),
    ],
)
def test_what_does_not_fit_is_said(release, said):
    found = faults(release)
    assert said in found if said else found == ""


@pytest.mark.parametrize(
    ("unit", "said"),
    [
        ("id", "only identifies a row, and requests hold it only where serve.identifiers names it"),
        ("y", "is the label or made from it, which no request holds"),
        ("away", "is excluded from the features; requests hold it only where serve.identifiers names it"),
        ("x", "is of type float"),
        ("nobody", "is no field of requests"),
        ("client", ""),
    ],
)
def test_units_are_dealt_out_by_a_field_that_requests_have(unit, said):
    columns = {"id": {"type": "integer"}, "x": {"type": "float"}, "away": {"type": "text"}, "client": {"type": "text"},
               "y": {"type": "category", "values": ["0", "1"]}}  # fmt: skip
    plain = spec({}).model_dump(exclude_unset=True)
    plain["data"]["sources"]["s"]["columns"] = columns
    plain["features"] = {"exclude": ["away"]}
    ramp = {"rollout": {"canary": {}, "unit": unit, "guards": GUARDS}}
    for release in (ramp, {"experiment": {**EXPERIMENT, "unit": unit}}):
        found = find(ModelSpec.model_validate(plain | {"release": release}))
        if not said or (unit == "nobody" and "experiment" in release):  # results alone may be of other units
            assert not found
        else:
            assert [said in f.message for f in found] == [True]
            mine = unit if unit == "away" else "id"
            told = "; or name a field that tells whom a request is about: client"
            assert found[0].hint == f"add serve.identifiers: [{mine}] and name that{told}"


def test_identifiers_make_units_of_what_only_identifies() -> None:
    serve = {"identifiers": ["id"], "explore": {"share": 0.02, "unit": "id"}}
    release = {
        "rollout": {"canary": {}, "unit": "id", "guards": GUARDS},
        "experiment": {**EXPERIMENT, "unit": "id"},
    }
    assert faults(release, serve=serve) == ""
    assert notices(spec(release, serve=serve)) == []
    (fault,) = find(spec({}, serve={"explore": {"share": 0.02, "unit": "id"}}))
    assert "requests hold it only where serve.identifiers names it" in fault.message
    assert part_of(("serve", "identifiers")) == "train"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nobody", "is not a column of source s"),
        ("y", "is the label or made from it"),
        ("x", "is of type float"),
        ("client", "is read by the model already"),
    ],
)
def test_an_identifier_is_a_column_that_nothing_reads(name, said):
    plain = spec({}, serve={"identifiers": [name]}).model_dump(exclude_unset=True)
    plain["data"]["sources"]["s"]["columns"]["client"] = {"type": "category"}
    assert [said in f.message for f in find(ModelSpec.model_validate(plain))] == [True]


def test_a_unit_that_the_model_reads_names_nobody():
    plain = spec({"rollout": {"canary": {}, "unit": "region", "guards": GUARDS}}).model_dump(
        exclude_unset=True
    )
    plain["data"]["sources"]["s"]["columns"]["region"] = {"type": "category", "values": ["n", "s"]}
    found = ModelSpec.model_validate(plain)
    assert find(found) == []
    (told,) = notices(found)
    assert told.message == "is region, a field with 2 values that the model reads and that names nobody"
    assert "serve.identifiers: [id]" in told.hint


def test_guards_need_a_log():
    release = {"rollout": {"shadow": {}, "guards": GUARDS}}
    assert "serve.log.mode is none" in faults(release, serve={"log": {"mode": "none"}})


@pytest.mark.parametrize("guard", ["errors > 1", "error_share < 1", "error_share > 0.1 for 2 windows"])
def test_a_guard_is_read_when_the_specification_is(guard):
    with pytest.raises(ValidationError):
        spec({"rollout": {"shadow": {}, "guards": {"g": guard}}})


def test_the_approvers_sign_the_rollout_and_nothing_else_changes_by_it():
    assert part_of(("release", "rollout", "guards")) == "approve"
    assert part_of(("release", "experiment", "metric")) == "words"
    bare, declared = part_digests(spec({})), part_digests(spec({"rollout": {"shadow": {}, "guards": GUARDS}}))
    assert {part for part in bare if bare[part] != declared[part]} == {"approve"}


@pytest.mark.parametrize(
    ("release", "signed"),
    [
        ({}, False),
        ({"rollout": {"shadow": {}, "guards": GUARDS}}, False),
        ({"rollout": {"experiment": {}, "guards": GUARDS}}, True),
    ],
)
def test_the_approvers_sign_an_experiment_that_decides_a_rollout(release, signed):
    one, other = (
        part_digests(spec({**release, "experiment": {"arms": {"a": 0.5, "b": 0.5}, "unit": "client",
                                                     "metric": metric, "mde": "+20%"}}))["approve"]
        for metric in ("bought", "stayed")
    )  # fmt: skip
    assert (one != other) is signed
