"""Release checks against a real server, from the command line and from Python."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from e2e_models import apply, charter, done, edit, make_loans

from charter.core.decision import Verdict
from charter.core.digest import digest_file
from charter.flow import verify as release_checks
from charter.flow import verify_answers as answers
from charter.flow.verify import Profile
from charter.flow.verify_subject import subject
from charter.flow.workspace import Workspace
from charter.govern.verification import CHECKS, Verification
from charter.serve.deployment import Deployment
from charter.serve.io.client import Client
from charter.serve.io.loading import write_deployment
from charter.serve.io.server import start
from charter.serve.scorer import Scorer

SHORT = Profile("light", 100, 20, 100.0, 1.0, 60, rebuild=False)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The light profile, cut short."""
    monkeypatch.setattr(release_checks, "PROFILES", {"light": SHORT})


@pytest.mark.usefixtures("short")
def test_only_what_passed_the_checks_is_released(loans: Path, tmp_path: Path) -> None:
    edit(loans, "seed: 11", "seed: 12")
    edit(loans, "approve: none", "approve: none\nrelease: {verify: light}")
    refused = charter("apply", loans)
    assert refused.code == 1
    assert "v2 is not verified" in refused.err
    assert "charter verify v2 --profile light" in refused.err
    told = done("audit", "list", "--in", loans, "--json").json[-1]
    assert (told["action"], told["subject"]) == ("release.refused", "v2")
    kept = {
        name: digest_file(loans / ".charter" / name)
        for name in ("deployment.json", "audit.head", "records.sqlite")
    }
    junit, markdown = tmp_path / "v.xml", tmp_path / "v.md"
    said = done("verify", "--in", loans, "--junit", junit, "--markdown", markdown, "--json").json

    # All eight checks were made, the way back among them: v1 took over from v2 while requests came in, in a copy.
    assert [check["subject"] for check in said["checks"]] == list(CHECKS)
    names = {check["name"] for one in said["checks"] for check in one["checks"]}
    assert {"way back", "requests meanwhile", "sums", "latency p95", "contract", "roc_auc"} <= names
    drill = next(c for c in said["checks"][-1]["checks"] if c["name"] == "way back")
    assert drill["observed"].startswith("v1 answers after")
    assert "demographic_parity_difference by group" in names
    assert ElementTree.parse(junit).getroot().get("failures") == "0"
    assert markdown.read_text().count("## ") == len(CHECKS)

    # What serves was not touched, and the trail tells of the verification alone.
    assert kept["deployment.json"] == digest_file(loans / ".charter" / "deployment.json")
    last = done("audit", "list", "--in", loans, "--json").json[-1]
    assert (last["action"], last["detail"]["report"]) == ("version.verified", said["report"])
    found = Verification.from_json({k: v for k, v in said.items() if k != "report"})
    assert Workspace.at(loans).blobs().has(found.digest)
    assert done("status", loans, "--json").json["serving"] == "v1"
    apply(loans)
    assert done("status", loans, "--json").json["serving"] == "v2"
    assert done("audit", "verify", "--in", loans).out.endswith("whole.\n")


def test_a_version_that_is_not_what_was_recorded_fails(loans: Path, tmp_path: Path) -> None:
    workspace = Workspace.at(loans)
    with subject(workspace, workspace.load(), "v1") as it:
        write_deployment(it.deployment, Deployment((it.model,)))
        server = start(it.deployment, log=it.server_log)
        try:
            scorer = Scorer.load(it.model.package)
            with Client(server.url) as client:
                told = answers.ask(it, client, None)
                again = answers.remeasure(it, scorer, told)
                assert answers.revalidation(it, told, again).verdict is Verdict.PASS
                # Another figure on record, a server that says something else, and a row that it refuses.
                metrics = {**it.evaluation["metrics"], "f1": {**it.evaluation["metrics"]["f1"], "value": 0.5}}
                altered = replace(it, evaluation={**it.evaluation, "metrics": metrics})
                assert failed(answers.revalidation(altered, told, again)) == ["f1"]
                told.found[3] = {**told.found[3], "score": told.found[3]["score"] + 1e-6}
                apart = answers.revalidation(it, told, answers.remeasure(it, scorer, told))
                assert "server and scorer agree" in failed(apart)
                rows = it.rows.with_columns(it.rows["late"].replace({it.rows["late"][0]: 99}))
                bad = answers.ask(replace(it, rows=rows), client, 20)
                assert bad.refused
                assert "late is 99; it must be <= 9" in bad.refused[0]
                assert failed(answers.data_quality(it, bad)) == ["held-out rows that the contract refuses"]
                # Reasons of another package are not those of this one.
                other = Scorer.load(it.model.package)
                other._top._words[0] = "something else"
                foreign = answers.explanation(it, client, other, 50)
                assert failed(foreign) == ["decisions whose reasons are not those of the package"]
        finally:
            server.stop()


def failed(decision: object) -> list[str]:
    return [check.name for check in decision.reasons]  # type: ignore[attr-defined]


def test_what_cannot_be_verified_is_told_before_anything_starts(tmp_path: Path) -> None:
    loans = make_loans(tmp_path / "loans")
    said = charter("verify", "--in", loans)
    assert (said.code, "nothing of small-loans is packaged" in said.err) == (1, True)
    assert charter("verify", "v1", "--in", loans).code == 2
    assert "did you mean" in charter("verify", "--in", loans, "--profile", "lihgt").err.lower()
    assert charter("verify", "--in", loans, "--junit", loans / "no" / "x.xml").code == 2
