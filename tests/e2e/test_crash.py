"""Whatever ends an apply, the next one goes on: nothing half-written is ever taken for done."""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from e2e_dying import Dying
from e2e_models import accounts, apply, charter, done, edit, make_loans

from charter.core.clock import ManualClock, SystemClock
from charter.core.digest import digest_file
from charter.flow.apply import apply as carry_out
from charter.flow.lock import hold
from charter.flow.workspace import Workspace
from charter.registry.io.blobs import Blobs
from charter.registry.io.records import Records

RECORDED = ("snapshot", "features", "train", "evaluate", "gate", "package")


def outcome(folder: Path) -> dict[str, Any]:
    """What an apply must have led to, however often it was disturbed."""
    with Records.open(
        f"sqlite:///{folder / '.charter' / 'records.sqlite'}", model=name_of(folder), readonly=True
    ) as r:
        (version,) = r.versions()
        deployment = r.deployment()
        return {
            "outputs": {stage: [x.output for x in r.results(stage)] for stage in RECORDED},
            "version": (version.number, version.bundle, version.package, version.gate, version.status),
            "deployments": len(r.deployments()),
            "serves": deployment.package if deployment else None,
        }


def name_of(folder: Path) -> str:
    found: str = done("check", folder, "--json").json["name"]
    return found


def nothing_half_done(folder: Path) -> None:
    """Every blob is what its name says, every recorded result is all there, the audit trail is whole."""
    state = folder / ".charter"
    blobs = Blobs(state / "blobs")
    for path in (state / "blobs").glob("??/*"):
        assert digest_file(path) == path.name
    if (state / "records.sqlite").exists():
        records = Records.open(f"sqlite:///{state / 'records.sqlite'}", model=name_of(folder), readonly=True)
        with records:
            for stage in RECORDED:
                for result in records.results(stage):
                    assert blobs.has(result.output)
                    if stage != "gate":
                        assert blobs.complete(result.output), stage
            deployment = records.deployment()
            if deployment is not None:
                assert list((state / "packages").glob(f"*-{deployment.package[:16]}/signature.json"))
    assert done("audit", "verify", "--in", folder, "--json").json["sound"] is True


@pytest.fixture(scope="package")
def undisturbed(dying: Dying, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = make_loans(tmp_path_factory.mktemp("undisturbed") / "loans")
    run = dying.apply(folder)
    assert run["code"] == 0, run
    nothing_half_done(folder)
    return {"points": run["points"], "seconds": run["seconds"], "outcome": outcome(folder)}


def goes_on(dying: Dying, folder: Path, undisturbed: dict[str, Any]) -> None:
    nothing_half_done(folder)
    again = dying.apply(folder)
    assert again["code"] == 0, again
    nothing_half_done(folder)
    assert outcome(folder) == undisturbed["outcome"]
    kept = (folder / ".charter").rglob("*")
    leftovers = [p for p in kept if p.parent.name in ("waiting", "scratch") or p.name.startswith(".")]
    assert [p for p in leftovers if not p.name.startswith(".deployment.json.")] == []


def test_killed_at_any_moment(dying, undisturbed, tmp_path):
    moments = random.Random(20)
    for number in range(5):
        folder = make_loans(tmp_path / str(number))
        died = dying.apply(folder, die_after=moments.uniform(0.02, undisturbed["seconds"] * 0.95))
        assert died["signal"] == 9 or died["code"] == 0
        goes_on(dying, folder, undisturbed)
        shutil.rmtree(folder)


def at_points(dying: Dying, undisturbed: dict[str, Any], points: list[int], tmp_path: Path) -> None:
    for point in points:
        folder = make_loans(tmp_path / str(point))
        assert dying.apply(folder, die_at=point)["signal"] == 9
        goes_on(dying, folder, undisturbed)
        shutil.rmtree(folder)


def test_killed_before_and_after_what_becomes_durable(dying, undisturbed, tmp_path):
    every = undisturbed["points"]
    points = [*random.Random(21).sample(range(1, every - 8), 6), 1, 5, every - 9]
    at_points(dying, undisturbed, points, tmp_path)


@pytest.mark.slow
def test_killed_before_and_after_a_sixth_of_all_that_becomes_durable(dying, undisturbed, tmp_path):
    at_points(dying, undisturbed, list(range(2, undisturbed["points"] - 8, 6)), tmp_path)


def test_killed_again_and_again(dying, undisturbed, tmp_path):
    """Each apply dies a little later than the one before, until one gets through."""
    folder = make_loans(tmp_path / "loans")
    point = 12
    while dying.apply(folder, die_at=point)["signal"] == 9:
        nothing_half_done(folder)
        point += 9
        assert point < undisturbed["points"]
    assert outcome(folder) == undisturbed["outcome"]
    assert done("audit", "verify", "--in", folder, "--json").json["sound"] is True


def test_a_second_apply_says_who_holds_the_workspace(tmp_path):
    folder = make_loans(tmp_path / "loans")
    workspace = Workspace.at(folder)
    with hold(workspace.lock_file, doing="charter apply", actor="ann", clock=SystemClock()):
        for how in ([], ["--wait", "0.2"]):
            said = charter("apply", folder, *how)
            assert said.code == 1
            for word in ("ann", f"process {os.getpid()}", "charter apply", "--wait"):
                assert word in said.err
    assert not (folder / ".charter" / "records.sqlite").exists()


def test_what_was_abandoned_is_removed_after_an_hour(loans):
    old, new = loans / ".charter" / ".deployment.json.abc", loans / ".charter" / ".deployment.json.def"
    for path in (old, new):
        path.write_text("{")
    os.utime(old, (0, 0))
    apply(loans)
    assert new.exists()
    assert not old.exists()


def test_two_at_once(dying, undisturbed, tmp_path):
    folder = make_loans(tmp_path / "refused")
    first, second = dying.run({"folder": str(folder)}, {"folder": str(folder)})
    assert sorted([first["code"], second["code"]]) == [0, 1]
    late = first if first["code"] else second
    assert "the workspace is held by" in json.loads(late["out"])["message"]
    assert outcome(folder) == undisturbed["outcome"]

    folder = make_loans(tmp_path / "waits")
    both = dying.run(*({"folder": str(folder), "arguments": ["--wait", "120"]} for _ in range(2)))
    assert [run["code"] for run in both] == [0, 0]
    assert sorted(len(json.loads(run["out"])["ran"]) for run in both) == [0, 7]
    assert outcome(folder) == undisturbed["outcome"]


def test_the_lock_dies_with_its_process(dying, tmp_path):
    folder = make_loans(tmp_path / "loans")
    assert dying.apply(folder, die_at=40)["signal"] == 9
    assert (folder / ".charter" / "lock").read_text() != ""
    with (folder / ".charter" / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few hundred kilobytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48k", "charter-test", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no small file system can be mounted here (it takes root)")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_told_and_overcome(small_disk, dying, undisturbed):
    said = []
    folder = small_disk / "loans"
    for kilobytes in (96, 128, 160, 224, 288, 352, 416):
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", small_disk], check=True)
        if not (folder / "accounts.csv").exists():
            make_loans(folder)
        run = dying.apply(folder)
        said.append((run["code"], run["out"] + run["err"]))
        nothing_half_done(folder)
    assert any(code != 0 for code, _ in said)
    for code, text in said:
        if code != 0:
            assert code in (2, 3)
            assert "full" in text or "No space left" in text, text
            assert "Traceback" not in text
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    goes_on(dying, folder, undisturbed)


@pytest.mark.parametrize("limit", [3_000, 20_000])
def test_a_write_that_the_system_refuses_is_told(limit, loans, tmp_path):
    """A limit on the size of a file stands in for a full disk where none can be mounted."""
    edit(loans, 'use: "bill / credit"', 'use: "bill / (credit + 2)"')
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))\n"
        "from charter.cli.main import _run\n"
        f"sys.exit(_run(['apply', {str(loans)!r}]))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert said.returncode in (2, 3), said.stderr
    assert "Traceback" not in said.stderr
    assert "File too large" in said.stderr or "disk" in said.stderr
    nothing_half_done(loans)
    assert apply(loans)[-1] == "release"


def test_a_clock_that_jumps_backwards(loans):
    now = datetime.now(UTC)
    edit(loans, 'use: "bill / credit"', 'use: "bill / (credit + 1)"')
    for back in (26, 50):
        workspace = Workspace.at(loans, clock=ManualClock(now - timedelta(hours=back)))
        assert carry_out(workspace, workspace.load()).stopped is None
    assert apply(loans) == []
    assert done("audit", "verify", "--in", loans, "--json").json["sound"] is True
    assert done("status", loans, "--json").json["serving"] == "v2"
    assert [v["version"] for v in done("history", loans, "--json").json["versions"]] == ["v1", "v2"]


def test_limits_are_as_they_were():
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def stands(folder: Path) -> dict[str, Any]:
    """What a rollout must have come to, however often its driver died."""
    with Records.open(
        f"sqlite:///{folder / '.charter' / 'records.sqlite'}", model=name_of(folder), readonly=True
    ) as r:
        moves = [e.action for e in r.events() if e.action.startswith(("rollout.", "incident."))]
        deployed = [(d.version, d.package, d.traffic) for d in r.deployments()]
        statuses = [v.status for v in r.versions()]
    served = json.loads((folder / ".charter" / "deployment.json").read_text())
    models = [(m["version"], Path(m["package"]).name) for m in served["models"]]
    return {
        "moves": moves,
        "deployed": deployed,
        "statuses": statuses,
        "models": models,
        "sent": served["traffic"],
    }


@pytest.mark.parametrize("case", ["start", "on", "back", "full", "kill"])
def test_a_rollout_whose_driver_is_killed_comes_to_the_same_end(dying, staged, tmp_path, case):
    from e2e_traffic import ask

    start, step = ["rollout", "start", "v2"], ["rollout", "step"]
    if case == "full":
        edit(staged, "    canary: {steps: [0.2, 0.5], at_least: 0s, min_rows: 60}\n", "")
        done("apply", staged)
    if case != "start":
        done(*start, "--in", staged)
        ask(staged, 400, slow="v2" if case == "back" else "")
    command = {"start": start, "kill": ["kill"]}.get(case, step)

    def carried_out(folder: Path, **how: Any) -> dict[str, Any]:
        found: dict[str, Any] = dying.run(
            {"folder": str(folder), "command": [*command, "--in", str(folder)], **how}
        )[0]
        return found

    clean = Path(shutil.copytree(staged, tmp_path / "clean"))
    points = carried_out(clean)["points"]
    carried_out(clean)
    thorough = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
    chosen = range(1, points) if thorough else random.Random(f"22 {case}").sample(range(1, points), 1)
    for point in (points, *chosen):
        folder = Path(shutil.copytree(staged, tmp_path / str(point)))
        assert carried_out(folder, die_at=point)["signal"] == 9
        for _ in range(2):
            carried_out(folder)
        assert told_once(stands(folder)) == told_once(stands(clean)), point
        assert done("audit", "verify", "--in", folder, "--json").json["sound"] is True
        shutil.rmtree(folder)


def told_once(found: dict[str, Any]) -> dict[str, Any]:
    """Beginning what has begun is refused, which is told as well: that is no move."""
    text = json.dumps({**found, "moves": [m for m in found["moves"] if m != "rollout.refused"]}, default=str)
    return json.loads(re.sub(r"/(clean|[0-9]+)/", "/", text))


RETRAINED = """retrain: {new_rows: 100, cooldown: 0d}
release: {redeploy: {max_shift: 1, max_latency_rise: 1000, max_memory_rise: 100, suspicious_gain: 1}}
"""


def retrained(folder: Path, loans: Path) -> Path:
    """A released model whose accounts have changed since, so that another model is surely better."""
    shutil.copytree(loans, folder)
    (folder / "model.yaml").write_text((folder / "model.yaml").read_text() + RETRAINED)
    south = pl.when(pl.col("region") == "south").then(4).otherwise(0)
    rows = accounts(1200, seed=31).with_columns(outcome=(pl.col("late") + south > 6).cast(pl.Int64))
    rows.write_csv(folder / "accounts.csv")
    return folder


def after_a_run(folder: Path) -> dict[str, Any]:
    entries = done("audit", "list", "--in", folder, "--json").json
    runs = {
        action: [e["detail"] for e in entries if e["action"] == f"retrain.{action}"]
        for action in ("started", "finished")
    }
    versions = done("history", folder, "--json").json["versions"]
    return {
        "runs": [(r["run"], r["triggers"]) for r in runs["started"]],
        "ends": [(r["run"], r["ending"], r["candidate"], r["outputs"]) for r in runs["finished"]],
        "bundles": [(v["version"], v["bundle"]) for v in versions],
        "serves": done("status", folder, "--json").json["serving"],
    }


def killed_while_retraining(
    dying: Dying, loans: Path, tmp_path: Path, points: Callable[[int], list[int]]
) -> None:
    def run(folder: Path, **how: Any) -> dict[str, Any]:
        order = {"folder": str(folder), "command": ["retrain", str(folder)], "arguments": ["--if-needed"]}
        return dying.run({**order, **how})[0]

    folder = retrained(tmp_path / "whole", loans)
    whole = run(folder)
    assert whole["code"] == 0, whole
    expected = after_a_run(folder)
    assert expected["serves"] == "v2"
    for point in points(whole["points"]):
        folder = retrained(tmp_path / str(point), loans)
        died = run(folder, die_at=point)
        # Not every run passes as many points as the first: one that has ended before this one has ended well.
        assert died["signal"] == 9 or (died["code"] == 0 and died["points"] < point), died
        assert done("status", folder, "--json").json["serving"] in ("v1", "v2")
        nothing_half_done(folder)
        assert run(folder)["code"] == 0
        assert after_a_run(folder) == expected
        shutil.rmtree(folder)


def test_a_retraining_that_is_killed_at_its_end_comes_to_the_same_end(dying, loans_built, tmp_path):
    killed_while_retraining(
        dying,
        loans_built,
        tmp_path,
        lambda total: [total - 3],  # others: test_story_killed.py
    )


@pytest.mark.slow
def test_a_retraining_that_is_killed_at_many_points_comes_to_the_same_end(dying, loans_built, tmp_path):
    killed_while_retraining(dying, loans_built, tmp_path, lambda total: list(range(3, total, 14)))
