"""Comparing versions through the records: same rows, what changed, who decides."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e_models import apply, charter, done, edit


def test_a_new_feature_and_another_algorithm_ask_a_person(loans: Path) -> None:
    edit(loans, 'use: "bill / credit"', 'use: "bill / credit"\n    load: "late * bill"')
    edit(loans, "learners: [lightgbm]", "learners: [logistic_regression]")
    apply(loans)
    said = charter("compare", "v1", "v2", "--in", loans, "--json")
    assert said.code == 1
    found = said.json
    assert found["changes"]["new_features"] == ["load"]
    assert found["changes"]["algorithm"] == ["lightgbm", "logistic_regression"]
    checks = {c["name"]: c for c in found["decision"]["checks"]}
    assert checks["new features"]["verdict"] == checks["algorithm"]["verdict"] == "unknown"
    assert found["outcome"] in ("manual", "rejected")
    compared = found["comparison"]
    assert (compared["champion"], compared["candidate"]) == ("v1", "v2")
    assert compared["n"] == done("show", "v2", "--in", loans, "--json").json["evaluation"]["n"]
    both = {m["compared"]["metric"]: m["compared"] for m in compared["metrics"]}
    for version, side in (("v1", "b"), ("v2", "a")):
        shown = done("show", version, "--in", loans, "--json").json["evaluation"]["metrics"]
        assert both["roc_auc"][side] == pytest.approx(shown["roc_auc"]["value"]), "the same rows and scorer"
        assert both["f1"][side] == shown["f1"]["value"], "at each version's own threshold"
    assert compared["common_features"]["compared"]["metric"] == "roc_auc"
    # `bill` is empty in some rows, and so is what is computed from it.
    assert compared["common_rows"]["compared"]["difference"]["n"] < compared["n"]
    text = charter("compare", "v1", "v2", "--in", loans).out
    assert text.startswith(f"{found['outcome']}: v2 in place of v1\n")
    assert "always asks a person" in text
    back = charter("compare", "v2", "v1", "--in", loans, "--json").json
    assert back["changes"]["lost_features"] == ["load"]
    beside = done("compare", "--in", loans, "--json").json["versions"]
    assert [(v["version"], v["learner"], v["metric"]) for v in beside] == [
        ("v1", "lightgbm", "roc_auc"),
        ("v2", "logistic_regression", "roc_auc"),
    ]
    assert any(v["on_front"] for v in beside)
    assert "on the front: no other version" in done("compare", "--in", loans).out


def test_rows_that_the_champion_has_learned_from_are_left_out(loans: Path) -> None:
    edit(loans, "seed: 11", "seed: 12")
    apply(loans)
    found = charter("compare", "v1", "v2", "--in", loans, "--json").json["comparison"]
    held_out = done("show", "v2", "--in", loans, "--json").json["evaluation"]["n"]
    assert 0 < found["n"] < held_out / 2
    assert any("on which v1 was trained are left out" in remark for remark in found["remarks"])


def test_business_rules_and_a_policy_of_one_s_own(loans: Path) -> None:
    edit(loans, "calibrate: sigmoid", "calibrate: isotonic")
    edit(loans, "high: 0.6", "high: 0.7")
    file = loans / "model.yaml"
    rules = (
        "release:\n  redeploy: {judges: releases, max_shift: 1, max_latency_rise: 100, automatic: false}\n"
    )
    file.write_text(file.read_text() + rules)
    apply(loans, code=1)
    for command in ("plan", "apply"):
        told = charter(command, loans)
        assert "Stopped at release: v2 in place of v1: manual" in told.out
        assert "charter apply --reason" in told.out
    assert done("status", loans, "--json").json["serving"] == "v1"
    assert "at character 4" in charter("apply", loans, "--reason", "yes\nno").err
    done("apply", loans, "--reason", "agreed with the owner")
    (told,) = [
        e for e in done("audit", "list", "--in", loans, "--json").json if e["action"] == "version.released"
    ][1:]
    assert (told["detail"]["redeployment"], told["detail"]["reason"]) == ("manual", "agreed with the owner")
    found = charter("compare", "v1", "v2", "--in", loans, "--json").json
    assert found["changes"]["rules"] == ["serve.bands.high raised from 0.6 to 0.7"]
    checks = {c["name"]: c for c in found["decision"]["checks"]}
    assert checks["shift"]["verdict"] == checks["p95 latency"]["verdict"] == "pass"
    assert checks["by itself"]["note"] == "a person always decides"
    line = next(i for i, text in enumerate(file.read_text().splitlines(), 1) if "max_shift" in text)
    text = charter("compare", "v1", "v2", "--in", loans).out
    assert f"model.yaml:{line}" in text


def test_entities_are_compared_as_wholes(clients: Path) -> None:
    edit(clients, "learners: [logistic_regression]", "learners: [lightgbm]")
    charter("apply", clients)  # its gate refuses it; it can be compared all the same
    found = charter("compare", "v1", "v2", "--in", clients, "--json").json["comparison"]
    assert found["clustered"]
    assert found["units"] < found["n"]
    assert found["decisions"] is None


def test_what_cannot_be_compared_is_refused(loans: Path) -> None:
    same = charter("compare", "v1", "v1", "--in", loans)
    assert (same.code, "compared with itself" in same.err) == (2, True)
    assert charter("compare", "v1", "v9", "--in", loans).code == 2
    alone = charter("compare", "v1", "--in", loans)
    assert (alone.code, "compared with nothing" in alone.err) == (2, True)
