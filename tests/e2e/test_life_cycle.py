"""The life of a model through the command line: plan, apply, change, go back, sign, show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from e2e_models import apply, charter, done, edit, make_clients, make_loans, symbols

BUILT = ["snapshot", "features", "train", "evaluate", "gate", "package", "release"]
SIX = {
    "development": "tech-lead",
    "technical": "ml-engineer",
    "business": "product-manager",
    "governance": "risk-officer",
    "deployment": "devops-lead",
    "final": "chief-data-officer",
}


def due(folder: Path) -> list[str]:
    """Stages that the plan says it would carry out."""
    return [stage for stage, symbol in symbols(folder).items() if symbol in ("create", "change")]


@pytest.mark.parametrize("make", [make_loans, make_clients])
def test_plan_says_what_apply_does_and_touches_nothing(make, tmp_path):
    folder = make(tmp_path / "model")
    promised = due(folder)
    assert promised == BUILT[:-1]
    assert symbols(folder)["release"] == "wait"
    assert not (folder / ".charter").exists()
    assert apply(folder) == BUILT
    assert set(symbols(folder).values()) == {"keep"}


def test_a_second_apply_does_nothing(loans):
    def kept():
        return {
            p.relative_to(loans): p.read_bytes()
            for part in ("blobs", "packages")
            for p in (loans / ".charter" / part).rglob("*")
            if p.is_file()
        }

    before, versions = kept(), done("history", loans, "--json").json
    assert apply(loans) == []
    assert kept() == before
    assert done("history", loans, "--json").json == versions
    assert "Nothing to do" in done("plan", loans).out


def test_what_apply_remembers_is_what_it_was_given(loans):
    found = done("plan", loans).out
    assert "changed since" not in found


def test_a_changed_contract_reaches_what_is_served(loans):
    """The rows stay the same to the byte; what a request may hold does not."""
    low = REQUEST.replace('"credit": ', '"credit": 0.') if '"credit": 0.' not in REQUEST else REQUEST
    edit(loans, "credit: {type: float, min: 1,", "credit: {type: float, min: 0.01,")
    assert apply(loans) == ["snapshot", "features", "train", "evaluate", "gate", "package", "release"]
    assert done("predict", "--json", low, "--in", loans)


def test_a_lower_requirement_is_judged_again_without_training(loans):
    edit(loans, 'roc_auc: ">= 0.7"', 'roc_auc: ">= 0.65"')
    assert due(loans) == ["gate", "package"]
    line = next(s for s in done("plan", loans, "--json").json["stages"] if s["stage"] == "gate")
    assert "roc_auc" in line["what"]
    assert "model.yaml:38" in line["what"]
    assert apply(loans) == ["gate", "package", "release"]
    assert [v["version"] for v in done("history", loans, "--json").json["versions"]] == ["v1"]


def test_a_requirement_that_is_not_met_refuses_and_keeps_what_serves(loans):
    edit(loans, 'roc_auc: ">= 0.7"', 'roc_auc: ">= 0.99"')
    said = charter("apply", loans)
    assert said.code == 1
    assert "NO gate" in said.out
    assert "model.yaml:38" in said.out
    assert "required >= 0.99" in said.out
    assert symbols(loans) | {"gate": "refused", "package": "wait", "release": "wait"} == symbols(loans)
    assert done("status", loans, "--json").json["serving"] == "v1"
    assert apply(loans, code=1) == []


def test_a_changed_feature_retrains(loans):
    edit(loans, 'use: "bill / credit"', 'use: "bill / (credit + 1)"')
    assert due(loans) == ["features", "train", "evaluate", "gate", "package"]
    assert apply(loans) == [s for s in BUILT if s != "snapshot"]
    assert [v["version"] for v in done("history", loans, "--json").json["versions"]] == ["v1", "v2"]
    assert done("status", loans, "--json").json["serving"] == "v2"
    assert done("show", "v1", "--in", loans, "--json").json["judged_alike"] == 2


def test_changed_words_do_nothing(loans):
    edit(loans, "summary: A small model", "summary: A small model, in other words")
    assert due(loans) == []
    assert "Nothing to do" in done("plan", loans).out
    assert apply(loans) == []


def test_changed_rows_are_noticed(loans):
    lines = (loans / "accounts.csv").read_text().splitlines()
    (loans / "accounts.csv").write_text("\n".join(lines[:-1]) + "\n")
    line = next(s for s in done("plan", loans, "--json").json["stages"] if s["stage"] == "snapshot")
    assert line["action"] == "change"
    assert "accounts changed" in line["what"]


@pytest.mark.parametrize(
    ("old", "new"),
    [('use: "bill / credit"', 'use: "bill / (credit + 1)"'), ("reasons: 2", "reasons: 3")],
)
def test_going_back_costs_nothing(loans, old, new):
    first = done("status", loans, "--json").json
    edit(loans, old, new)
    apply(loans)
    edit(loans, new, old)
    assert due(loans) == ["release"]
    assert apply(loans) == ["release"]
    assert done("status", loans, "--json").json["stages"] == first["stages"]
    assert done("show", "v1", "--in", loans, "--json").json["serving"] is True
    edit(loans, old, new)
    assert apply(loans) == ["release"]


def signers(folder: Path) -> None:
    admin = None
    for role in SIX.values():
        by = ["--by", admin] if admin else []
        done("identity", "create", f"e2e-{role}", "--role", role, "--in", folder, *by)
        admin = admin or f"e2e-{role}"


@pytest.fixture
def signed_by_five(loans, monkeypatch, tmp_path):
    """The row model under six approvals, of which the last is missing."""
    monkeypatch.setenv("CHARTER_HOME", str(tmp_path / "home"))
    edit(loans, "approve: none", "approve: six-stage")
    assert apply(loans, code=1) == []
    signers(loans)
    for stage in list(SIX)[:-1]:
        done("approve", "v1", "--stage", stage, "--as", f"e2e-{SIX[stage]}", "--in", loans)
    return loans


def sign_final(folder: Path) -> None:
    done("approve", "v1", "--stage", "final", "--as", f"e2e-{SIX['final']}", "--in", folder)


def test_five_of_six_signatures_do_not_release(signed_by_five):
    said = charter("apply", signed_by_five)
    assert said.code == 1
    assert "5 of 6 signatures" in said.out
    assert "final" in said.out
    assert "chief-data-officer" in said.out
    found = charter("apply", signed_by_five, "--json")
    assert found.code == 1
    assert found.json["stopped_at"] == "approve"
    missing = [c["name"] for c in found.json["decision"]["checks"] if c["verdict"] != "pass"]
    assert missing == ["final"]
    sign_final(signed_by_five)
    assert apply(signed_by_five) == []  # the package was released before under `approve: none`


def test_signatures_lapse_with_the_package_and_hold_again_when_it_is_back(signed_by_five):
    folder = signed_by_five
    sign_final(folder)
    edit(folder, "reasons: 2", "reasons: 3")
    said = charter("apply", folder)
    assert said.code == 1
    assert "0 of 6 signatures" in said.out
    assert "package" in said.out
    assert done("status", folder, "--json").json["serving"] == "v1"
    assert done("predict", "--json", REQUEST, "--in", folder)  # the old package goes on serving
    edit(folder, "reasons: 3", "reasons: 2")
    assert apply(folder) == []
    assert symbols(folder)["approve"] == "keep"
    # What is signed now is what the specification says now, not what was built last.
    shown = done("show", "v1", "--in", folder, "--json").json
    assert [c["verdict"] for c in shown["approvals"]["checks"]] == ["pass"] * 6
    edit(folder, "reasons: 2", "reasons: 3")
    for stage, role in SIX.items():
        apply(folder, code=1)
        done("approve", "v1", "--stage", stage, "--as", f"e2e-{role}", "--in", folder)
    assert apply(folder) == ["release"]


def test_a_rejection_stops_the_release(signed_by_five):
    done(
        "reject", "v1", "--stage", "final", "--as", f"e2e-{SIX['final']}", "--reason", "too soon",
        "--in", signed_by_five,
    )  # fmt: skip
    said = charter("apply", signed_by_five)
    assert said.code == 1
    assert "too soon" in said.out


REQUEST = json.dumps({"credit": 9000, "bill": 4000, "late": 4, "region": "north"})


def test_what_is_recorded_can_be_seen(loans, clients, tmp_path):
    for folder in (loans, clients):
        shown = done("show", "v1", "--in", folder, "--json").json
        assert shown["serving"] is True
        assert 0.5 < shown["evaluation"]["metrics"]["roc_auc"]["value"] <= 1
        assert shown["train"]["parity"]["max_abs_difference"] <= 1e-5
        text = done("show", "v1", "--in", folder).out
        assert "requirements" in text
        assert "roc_auc" in text
        status = done("status", folder, "--json").json
        assert status["serving"] == "v1"
        assert "v1 is released" in done("status", folder).out
        history = done("history", folder, "--json").json
        assert [v["version"] for v in history["versions"]] == ["v1"]
        assert [r["version"] for r in history["releases"]] == ["v1"]
        assert "v1" in done("history", folder).out
        assert done("audit", "verify", "--in", folder, "--json").json["sound"] is True
        actions = [e["action"] for e in done("audit", "list", "--in", folder, "--json").json]
        assert [a for a in actions if a.startswith("version.")] == ["version.released"]
        assert {e["actor"] for e in done("audit", "list", "--in", folder, "--json").json} == {"tester"}
        for form, ending in (("html", "html"), ("markdown", "md"), ("json", "json")):
            target = tmp_path / f"card.{ending}"
            done("card", "v1", "--format", form, "--to", target, "--in", folder)
            assert "roc_auc" in target.read_text() or "ROC AUC" in target.read_text()
        assert done("lineage", "v1", "--in", folder, "--json").json
        release = done("lineage", "v1", "--in", folder).out.splitlines()[-1].split()
        assert (release[0], release[3], release[4]) == ("release", "tester", "package")
    assert "fairness by group" in done("show", "v1", "--fairness", "--in", loans).out
    assert "features by share" in done("show", "v1", "--features", "--in", loans).out


def test_the_audit_trail_exports_whole_lines(loans, tmp_path):
    target = tmp_path / "trail.jsonl"
    done("audit", "export", target, "--in", loans)
    entries = [json.loads(line) for line in target.read_text().splitlines()]
    assert [e["sequence"] for e in entries] == list(range(1, len(entries) + 1))


def test_diff_names_the_change_and_what_it_costs(loans, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text((loans / "model.yaml").read_text().replace('">= 0.7"', '">= 0.6"'))
    found = done("diff", loans / "model.yaml", other, "--json").json
    assert found["invalidates"][0] == "gate"
    assert "train" not in found["invalidates"]
    assert "roc_auc" in done("diff", loans / "model.yaml", other).out
    other.write_text((loans / "model.yaml").read_text().replace("A small model", "Another"))
    assert "nothing is invalidated" in done("diff", loans / "model.yaml", other).out


def test_predict_answers_with_reasons(loans, clients):
    (found,) = done("predict", "--json", f"[{REQUEST}]", "--explain", "--in", loans).json
    assert 0 <= found["score"] <= 1
    assert found["version"] == "v1"
    assert found["band"] in ("high", "low")
    assert len(found["reasons"]) == 2
    single = done("predict", "--json", REQUEST, "--in", loans).json
    assert single["score"] == found["score"]
    known = done("predict", "--json", '{"client": 3, "as_of": "2025-09-01"}', "--in", clients).json
    assert 0 <= known["score"] <= 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"credit": "much"}', "credit"),
        ('{"credit": 9000, "bill": 4000, "late": 12, "region": "north"}', "late"),
        ("{", ""),
    ],
)
def test_predict_refuses_a_wrong_request(loans, body, field):
    said = charter("predict", "--json", body, "--in", loans)
    assert said.code == 2
    assert field in said.err + said.out
    assert "Traceback" not in said.err


def test_nothing_released_is_said(tmp_path):
    folder = make_loans(tmp_path / "model")
    assert charter("predict", "--json", REQUEST, "--in", folder).code == 1
    assert charter("card", "v1", "--in", folder).code == 2
    assert charter("show", "v1", "--in", folder).code == 2
    assert "nothing is released" in done("status", folder).out
    assert done("history", folder, "--json").json == {"versions": [], "releases": []}
    assert done("audit", "verify", "--in", folder, "--json").json == {
        "entries": 0,
        "sound": True,
        "faults": [],
    }


def test_a_tampered_package_answers_nothing(loans):
    (package,) = (loans / ".charter" / "packages").iterdir()
    decision = package / "decision.json"
    decision.chmod(0o644)
    decision.write_bytes(decision.read_bytes().replace(b"0.", b"1.", 1))
    said = charter("predict", "--json", REQUEST, "--in", loans)
    assert said.code != 0
    assert "decision.json was changed" in said.err


def test_a_tampered_trail_stops_everything(loans):
    import sqlite3

    with sqlite3.connect(loans / ".charter" / "records.sqlite") as database:
        (trigger,) = database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND sql LIKE '%UPDATE ON audit%'"
        )
        database.execute(f"DROP TRIGGER {trigger[0]}")
        database.execute("UPDATE audit SET actor = 'somebody' WHERE sequence = 2")
    database.close()
    said = charter("audit", "verify", "--in", loans)
    assert said.code == 1
    assert "2" in said.out
    edit(loans, "reasons: 2", "reasons: 1")
    assert charter("apply", loans).code == 1


def test_a_damaged_blob_is_told_and_never_used(loans):
    edit(loans, 'use: "bill / credit"', 'use: "bill / (credit + 1)"')
    blobs = {p: p.read_bytes() for p in (loans / ".charter" / "blobs").rglob("*") if p.is_file()}
    for path, content in blobs.items():
        path.chmod(0o644)
        path.write_bytes(content[: len(content) // 2])
    said = charter("apply", loans)
    assert said.code == 2
    assert "damaged" in said.err
    for path, content in blobs.items():
        path.write_bytes(content)
    assert apply(loans) == [s for s in BUILT if s != "snapshot"]
