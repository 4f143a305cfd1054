"""Moves that are forbidden: each is refused, says why, changes nothing, and stands in the audit trail."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from e2e_models import charter, done, edit
from e2e_traffic import ask

from charter.core.clock import ManualClock
from charter.core.errors import Refusal
from charter.flow import rollout
from charter.flow.workspace import Workspace
from charter.govern.io import keys
from charter.govern.io.trail import Trail
from charter.registry.types import Approval
from charter.spec.types import ReleaseSpec

APPROVE = """approve:
  distinct_people: true
  valid_for: 10d
  stages:
    - {stage: technical, role: ml-engineer}
    - {stage: final, role: chief-data-officer}
"""
ROLES = "    roles: {start: release-manager, step: release-manager, stop: on-call}\n    guards: {errors"
PEOPLE = {
    "ann": ["admin"],
    "bob": ["ml-engineer", "chief-data-officer"],
    "cleo": ["chief-data-officer"],
    "rita": ["release-manager"],
    "oli": ["on-call"],
    "eve": [],
}
FINAL = ("approve", "v2", "--stage", "final", "--as", "cleo")


@pytest.fixture(scope="module")
def states(staged_built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The workspace in the states from which forbidden moves begin: each is the one before and a step more."""
    base, home = tmp_path_factory.mktemp("forbidden"), os.environ["CHARTER_HOME"]
    os.environ["CHARTER_HOME"] = str(base / "home")
    found: dict[str, Path] = {}

    def keep(name: str, folder: Path) -> Path:
        found[name] = folder
        return Path(shutil.copytree(folder, base / f"after-{name}"))

    folder = Path(shutil.copytree(staged_built, base / "waiting"))
    edit(folder, "approve: none\n", APPROVE)
    edit(folder, "    guards: {errors", ROLES)
    for name, roles in PEOPLE.items():
        granted = [part for role in roles for part in ("--role", role)]
        done(
            "identity",
            "create",
            name,
            *granted,
            *(["--by", "ann"] if found or name != "ann" else []),
            "--in",
            folder,
        )
    assert charter("apply", folder).code == 1
    folder = keep("waiting", folder)
    done("approve", "v2", "--stage", "technical", "--as", "bob", "--in", folder)
    folder = keep("half", folder)
    done(*FINAL, "--in", folder)
    done("apply", folder)
    folder = keep("approved", folder)
    done("rollout", "start", "v2", "--as", "rita", "--in", folder)
    ask(folder, 300)
    folder = keep("shadow", folder)
    done("kill", "--all", "--as", "oli", "--in", folder)
    found["stopped"] = folder
    yield found
    os.environ["CHARTER_HOME"] = home


def tamper(*statements: str) -> Callable[[Path], None]:
    def carry_out(folder: Path) -> None:
        with sqlite3.connect(folder / ".charter" / "records.sqlite") as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()

    return carry_out


def run(*command: str) -> Callable[[Path], object]:
    return lambda folder: done(*command, "--in", folder)


def each(*changes: Callable[[Path], object]) -> Callable[[Path], None]:
    def carry_out(folder: Path) -> None:
        for change in changes:
            change(folder)

    return carry_out


reasons_changed = each(
    lambda folder: edit(folder, "reasons: 2", "reasons: 1"), lambda folder: charter("apply", folder)
)


def recorded(change: Callable[[list[Approval]], Approval]) -> Callable[[Path], None]:
    """Add an approval with an entry that continues the chain, as whoever can write to database and anchor may."""

    def carry_out(folder: Path) -> None:
        workspace = Workspace.at(folder)
        with workspace.records("small-loans") as records:
            forged = change(records.approvals(2))
            trail = Trail(records, workspace.anchor_file)
            now = workspace.clock.now()
            with trail.recording(at=now, actor="eve", action="version.approve", subject="v2") as tx:
                tx.add_approval(forged)

    return carry_out


def rejected_then_replayed(folder: Path) -> None:
    done("reject", "v2", "--stage", "final", "--as", "cleo", "--reason", "no", "--in", folder)
    recorded(lambda known: next(a for a in known if a.stage == "final" and a.verdict == "approve"))(folder)


def lost_key(folder: Path) -> None:
    """Somebody else's machine: a key of the same name that is not the recorded one."""
    shutil.copytree(os.environ["CHARTER_HOME"], folder / "home")
    os.environ["CHARTER_HOME"] = str(folder / "home")
    keys.key_file("rita", folder / "home").unlink()
    keys.key_file("cleo", folder / "home").unlink()
    for name in ("rita", "cleo"):
        keys.create(name, folder / "home")


def lost_spec(folder: Path) -> None:
    workspace = Workspace.at(folder)
    with workspace.records("small-loans", readonly=True) as records:
        deployment = records.deployment()
    assert deployment is not None
    workspace.blobs().path(deployment.evidence["began_under"]).unlink()


def damaged(folder: Path) -> None:
    workspace = Workspace.at(folder)
    with workspace.records("small-loans", readonly=True) as records:
        package = records.version(2).package
    assert package is not None
    blob = workspace.blobs().path(workspace.blobs().tree(package)["model.onnx"])
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes() + b"x")


START = ("rollout", "start", "v2", "--as", "rita")
STEP = ("rollout", "step", "--as", "rita")
LOOSER = 'p95_latency_ms > 200"', 'p95_latency_ms > 900"'


@dataclass(frozen=True)
class Forbidden:
    state: str
    command: tuple[str, ...]
    says: str
    before: Callable[[Path], object] = lambda _folder: None
    entry: str = "rollout.refused"


NOT_SIGNED = "is not approved"
MOVES = {
    "approve without the role": Forbidden(
        "waiting", ("approve", "v2", "--stage", "final", "--as", "eve"), "takes a chief-data-officer",
        entry="approval.refused"),
    "approve in the role of another stage": Forbidden(
        "waiting", ("approve", "v2", "--stage", "technical", "--as", "cleo"), "takes a ml-engineer",
        entry="approval.refused"),
    "approve with a key that is not the recorded one": Forbidden(
        "half", FINAL, "is not the key that is recorded", lost_key, "approval.refused"),
    "start what nobody approved": Forbidden("waiting", START, NOT_SIGNED),
    "start what is approved by half": Forbidden("half", START, NOT_SIGNED),
    "sign two stages as one person": Forbidden(
        "half", START, NOT_SIGNED, run("approve", "v2", "--stage", "final", "--as", "bob")),
    "start what was rejected": Forbidden(
        "approved", START, NOT_SIGNED, run("reject", "v2", "--stage", "final", "--as", "cleo", "--reason", "no")),
    "replay an approval after its rejection": Forbidden("approved", START, NOT_SIGNED, rejected_then_replayed),
    "move a signature to another stage": Forbidden(
        "half", START, NOT_SIGNED,
        recorded(lambda known: replace(known[0], stage="final", role="chief-data-officer"))),
    "sign in somebody's name": Forbidden(
        "half", START, NOT_SIGNED,
        recorded(lambda known: replace(known[0], stage="final", role="chief-data-officer", identity="cleo"))),
    "move a signature to other evidence": Forbidden(
        "approved", START, NOT_SIGNED, each(
            reasons_changed, recorded(lambda known: replace(known[-1], signature="00" * 64)))),
    "start on stale evidence": Forbidden("approved", START, NOT_SIGNED, reasons_changed),
    "loosen a guard after the approval": Forbidden("approved", START, NOT_SIGNED, lambda f: edit(f, *LOOSER)),
    "drop a stage after the approval": Forbidden(
        "approved", START, NOT_SIGNED, lambda f: edit(f, "steps: [0.2, 0.5]", "steps: [0.5]")),
    "start after a signer has lost the role": Forbidden(
        "approved", START, NOT_SIGNED,
        run("identity", "grant", "cleo", "chief-data-officer", "--by", "ann", "--revoke")),
    "start what fails its gate": Forbidden(
        "approved", START, "not passed its gate", each(
            lambda folder: edit(folder, '{roc_auc: ">= 0.7"}', '{roc_auc: ">= 0.99"}'),
            lambda folder: charter("apply", folder))),
    "start a package that was damaged": Forbidden("approved", START, "is damaged", damaged),
    "start without saying who": Forbidden("approved", START[:3], "takes a release-manager"),
    "start in the wrong role": Forbidden(
        "approved", ("rollout", "start", "v2", "--as", "oli"), "takes a release-manager"),
    "start with a key that is not the recorded one": Forbidden(
        "approved", START, "is not the key that is recorded", lost_key),
    "start what serves already": Forbidden("approved", ("rollout", "start", "v1", "--as", "rita"), "serves already"),
    "start while another rollout is under way": Forbidden("shadow", START, "is being tried already"),
    "start while the model is stopped": Forbidden("stopped", START, "the model is stopped"),
    "skip the stages by an experiment": Forbidden(
        "approved", ("experiment", "start", "v2", "--as", "rita"), "stages are not skipped",
        lambda f: edit(f, "release:\n", "release:\n  experiment: {unit: region, arms: {champion: 0.5, candidate: 0.5},"
                       " metric: converted, mde: '+10%'}\n")),
    "step without saying who": Forbidden("shadow", STEP[:2], "takes a release-manager"),
    "step in the wrong role": Forbidden("shadow", ("rollout", "step", "--as", "eve"), "takes a release-manager"),
    "go on after a signer has lost the role": Forbidden(
        "shadow", STEP, NOT_SIGNED,
        run("identity", "grant", "cleo", "chief-data-officer", "--by", "ann", "--revoke")),
    "go on after a rejection": Forbidden(
        "shadow", STEP, NOT_SIGNED,
        run("reject", "v2", "--stage", "final", "--as", "cleo", "--reason", "no")),
    "go on when the specification that was approved is lost": Forbidden("shadow", STEP, "is lost", lost_spec),
    "end a rollout without saying who": Forbidden("shadow", ("kill",), "takes a on-call"),
    "end a rollout in the wrong role": Forbidden("shadow", ("kill", "--as", "rita"), "takes a on-call"),
    "stop the model in the wrong role": Forbidden("approved", ("kill", "--all", "--as", "eve"), "takes a on-call"),
    "end what has not begun": Forbidden("approved", ("kill", "--as", "oli"), "nothing is tried"),
    "let a stopped model answer in the wrong role": Forbidden(
        "stopped", ("rollout", "resume", "--as", "oli"), "takes a release-manager"),
    "resume what is not stopped": Forbidden("approved", ("rollout", "resume", "--as", "rita"), "is not stopped"),
    "stop an experiment that does not run": Forbidden("shadow", ("experiment", "stop"), "no experiment is running"),
    "go back in the wrong role": Forbidden(
        "approved", ("rollback", "--to", "v2", "--as", "eve"), "takes a on-call", entry="rollback.refused"),
    "go back past the champion in a rollout": Forbidden(
        "shadow", ("rollback", "--as", "oli"), "is being tried", entry="rollback.refused"),
    "go back to what never served": Forbidden(
        "approved", ("rollback", "--to", "v2", "--as", "oli"), "never released", entry="rollback.refused"),
    "edit the row of an identity": Forbidden(
        "approved", START, "row 6 of identities",
        tamper("UPDATE identities SET public_key = '" + "ab" * 32 + "' WHERE name = 'eve'")),
    "edit the row of a grant": Forbidden(
        "approved", START, "row 2 of grants", tamper("UPDATE grants SET role = 'on-call' WHERE sequence = 2")),
    "edit the row of an approval": Forbidden(
        "approved", START, "row 1 of approvals", tamper("UPDATE approvals SET reason = 'fine' WHERE sequence = 1")),
    "insert a copy of an approval": Forbidden(
        "approved", START, "row 99 of approvals", tamper(
            "INSERT INTO approvals SELECT 99, model, version, stage, identity, role, verdict, reason, evidence, "
            "signed_at, signature FROM approvals LIMIT 1")),
    "edit the row of the deployment": Forbidden(
        "shadow", STEP, "row 2 of deployments",
        tamper("UPDATE deployments SET traffic = replace(traffic, 'shadow', 'canary') WHERE sequence = 2")),
    "remove the row of the deployment": Forbidden(
        "approved", START, "is gone", tamper("DELETE FROM deployments"), ),
    "edit an entry of the audit trail": Forbidden(
        "approved", START, "the audit trail is not whole",
        tamper("DROP TRIGGER audit_keeps_on_update", "UPDATE audit SET actor = 'nobody' WHERE sequence = 3")),
    "edit which package a version has": Forbidden(
        "approved", START, "the row of small-loans v2 in versions was altered",
        tamper("UPDATE versions SET package = (SELECT package FROM versions WHERE number = 1) WHERE number = 2")),
    "edit which gate a version has": Forbidden(
        "approved", START, "gate is {}", tamper("UPDATE versions SET gate = '{}' WHERE number = 2")),
    "edit where a version stands": Forbidden(
        "approved", START, "status is released, was staging",
        tamper("UPDATE versions SET status = 'released' WHERE number = 2")),
    "edit the result of a package": Forbidden(
        "approved", START, "small-loans's stage package for inputs",
        tamper("UPDATE results SET summary = replace(summary, '\"version\":2', '\"version\":1') "
               "WHERE stage = 'package'")),
    "empty the result of a package": Forbidden(
        "approved", START, "summary is", tamper("UPDATE results SET summary = '{}' WHERE stage = 'package'")),
    "edit the result of an evaluation": Forbidden(
        "approved", START, "output is 00000000", tamper(
            "UPDATE results SET output = '" + "0" * 64 + "' WHERE stage = 'evaluate'")),
    "remove all results": Forbidden("approved", START, "is gone", tamper("DELETE FROM results")),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVES)
def test_it_is_refused_says_why_and_stands_in_the_trail(states, tmp_path, monkeypatch, name):
    monkeypatch.setenv("CHARTER_HOME", os.environ["CHARTER_HOME"])
    move = MOVES[name]
    folder = Path(shutil.copytree(states[move.state], tmp_path / "loans"))
    move.before(folder)
    served = sent(folder)
    refused = charter(*move.command, "--in", folder)
    assert refused.code in (1, 2), refused
    assert move.says in refused.err + refused.out
    assert sent(folder) == served
    entry = last_entry(folder)
    assert entry.action == move.entry
    assert move.says in str(entry.detail)
    count = entry.sequence
    charter(*move.command, "--in", folder)
    assert last_entry(folder).sequence == count, "the same refusal again is told once"


def sent(folder: Path) -> tuple[list[str], object]:
    """What a server is told to serve, and to whom."""
    found = json.loads((folder / ".charter" / "deployment.json").read_text())
    return [m["version"] for m in found["models"]], found["traffic"]


def last_entry(folder: Path):
    with Workspace.at(folder).records("small-loans", readonly=True) as records:
        found = records.last_event()
    assert found is not None
    return found


@pytest.mark.parametrize(("state", "says"), [("approved", NOT_SIGNED), ("shadow", NOT_SIGNED)])
def test_signatures_that_have_expired_carry_nothing(states, tmp_path, state, says):
    folder = Path(shutil.copytree(states[state], tmp_path / "loans"))
    workspace = Workspace.at(folder, clock=ManualClock(Workspace.at(folder).clock.now() + timedelta(days=11)))
    loaded = workspace.load()
    act = partial(rollout.start, version="v2") if state == "approved" else rollout.step
    with pytest.raises(Refusal, match=says):
        act(workspace, loaded, name="rita")
    assert last_entry(folder).action == "rollout.refused"


def test_a_rollout_without_a_guard_does_not_begin(states, tmp_path):
    folder = Path(shutil.copytree(states["approved"], tmp_path / "loans"))
    assert "has no guard" in charter("check", unguarded(folder)).err
    workspace = Workspace.at(states["approved"])
    loaded = workspace.load()
    bare = loaded.spec.release.model_dump()
    bare["rollout"]["guards"] = bare["rollout"]["shadow"]["guards"] = {}
    spec = loaded.spec.model_copy(update={"release": ReleaseSpec.model_validate(bare)})
    target = Workspace.at(Path(shutil.copytree(states["approved"], tmp_path / "again")))
    with pytest.raises(Refusal, match="has no guard"):
        rollout.start(target, replace(loaded, spec=spec), "v2", name="rita")
    assert last_entry(target.root).action == "rollout.refused"


def unguarded(folder: Path) -> Path:
    text = (folder / "model.yaml").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("guards:")]
    (folder / "model.yaml").write_text(
        "\n".join(lines).replace(', guards: {other: "disagreement > 0.5"}', "") + "\n"
    )
    return folder


def test_without_the_anchor_of_the_chain_nothing_is_recorded_at_all(states, tmp_path):
    folder = Path(shutil.copytree(states["approved"], tmp_path / "loans"))
    (folder / ".charter" / "audit.head").unlink()
    before = last_entry(folder).sequence
    refused = charter(*START, "--in", folder)
    assert refused.code == 1
    assert "audit" in refused.err
    assert last_entry(folder).sequence == before


def test_there_are_thirty_and_more():
    assert len(MOVES) >= 50
