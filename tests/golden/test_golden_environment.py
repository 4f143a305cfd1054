"""Wrong use of the command line, and surroundings that do not fit."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from golden_support import Bench, Ran

from charter.core.errors import DataError

GOOD = '{"income": 2000, "debt": 100, "months_late": 1, "region": "north"}'

USE: dict[str, tuple[str, ...]] = {
    "unknown-command": ("aply",),
    "unknown-option": ("apply", "--fast"),
    "negative-wait": ("apply", "--wait", "-1"),
    "too-many-arguments": ("plan", "model.yaml", "other.yaml"),
    "missing-version": ("show",),
    "unknown-version": ("show", "v7"),
    "malformed-version": ("show", "latest"),
    "reproduce-unknown-version": ("reproduce", "v7"),
    "card-unknown-format": ("card", "v1", "--format", "pdf"),
    "card-unknown-version": ("card", "v7"),
    "check-missing-file": ("check", "modle.yaml"),
    "plan-missing-file": ("plan", "modle.yaml"),
    "diff-missing-file": ("diff", "model.yaml", "other.yaml"),
    "predict-missing-file": ("predict", "--json", "@request.json"),
    "predict-no-json": ("predict", "--json", "income=2000"),
    "predict-empty": ("predict", "--json", ""),
    "predict-unknown-field": ("predict", "--json", GOOD.replace("income", "incom")),
    "predict-two-faults": ("predict", "--json", GOOD.replace("2000", "-1").replace("north", "east")),
    "predict-unknown-category": ("predict", "--json", GOOD.replace("north", "east")),
    "serve-port-too-large": ("serve", "--port", "70000"),
    "serve-unknown-host": ("serve", "--host", "nowhere.invalid"),
    "unknown-blueprint": ("init", "new", "--from", "customer-chrn"),
    "init-without-blueprint": ("init", "new"),
    "demo-unknown-blueprint": ("demo", "credit-rsk", "--in", "new", "--no-serve"),
    "audit-export-into-a-folder": ("audit", "export", ".charter"),
    "audit-list-nothing": ("audit", "list", "--last", "0"),
}


@pytest.mark.parametrize("name", USE)
def test_wrong_use_is_told_and_changes_nothing(name: str, bench: Bench) -> None:
    bench.refused(f"use-{name}", 2, *USE[name])


def test_init_overwrites_nothing(bench: Bench) -> None:
    bench.refused("use-init-over-a-model", 2, "init", ".", "--from", "credit-risk")
    bench.refused("use-init-into-a-file", 2, "init", "bills.csv", "--from", "credit-risk")


@pytest.mark.parametrize("command", ["plan", "apply", "status", "history", "serve"])
def test_a_folder_without_a_model(command: str, fresh: Bench) -> None:
    fresh.spec.rename(fresh.root / "other.yaml")
    fresh.refused(f"nowhere-{command}", 2, command)


NOT_RELEASED: dict[str, tuple[str, ...]] = {
    "predict": ("predict", "--json", GOOD),
    "serve": ("serve",),
}


@pytest.mark.parametrize("name", NOT_RELEASED)
def test_nothing_answers_before_release(name: str, fresh: Bench) -> None:
    fresh.refused(f"unreleased-{name}-before-apply", 1, *NOT_RELEASED[name])


@pytest.mark.parametrize("name", NOT_RELEASED)
def test_nothing_answers_before_approval(name: str, waiting: Bench) -> None:
    waiting.refused(f"unreleased-{name}-before-approval", 1, *NOT_RELEASED[name])


def test_a_busy_port_is_named(bench: Bench) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ran = bench.run("serve", "--port", port)
    text = ran.seen.replace(port, "<port>")
    bench.golden("serve-busy-port", Ran(ran.code, "", "", text), ("serve", "--port", "<port>"))
    assert ran.code == 2


def test_a_second_apply_says_who_holds_the_workspace(bench: Bench) -> None:
    holder = {
        "actor": "ann",
        "doing": "charter apply",
        "pid": 4711,
        "since": "2026-01-02T03:00:00Z",
        "host": "desk",
    }
    path = bench.state / "lock"
    with path.open("w") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        file.write(json.dumps(holder))
        file.flush()
        bench.refused("busy-apply", 1, "apply")
        bench.refused("busy-apply-json", 1, "apply", "--json")


UNFIT: dict[str, tuple[int, Callable[[Bench], object], tuple[str, ...]]] = {
    "state-is-a-file": (2, lambda b: (b.state.rename(b.root / "old"), b.state.write_text("")), ("apply",)),
    "records-nowhere": (
        2, lambda b: b.monkeypatch.setenv("CHARTER_RECORDS_URL", "sqlite:////proc/none/records.sqlite"), ("apply",)),
    "records-in-memory": (2, lambda b: b.monkeypatch.setenv("CHARTER_RECORDS_URL", "sqlite://"), ("apply",)),
    "records-of-another-kind": (
        2, lambda b: b.monkeypatch.setenv("CHARTER_RECORDS_URL", "mysql://shop/records"), ("apply",)),
    "records-no-address": (2, lambda b: b.monkeypatch.setenv("CHARTER_RECORDS_URL", "records"), ("apply",)),
    "records-nobody-answers": (2, lambda b: b.monkeypatch.setenv(
        "CHARTER_RECORDS_URL", "postgresql://reader:secret@127.0.0.1:9/records"), ("plan",)),
    "blobs-nowhere": (2, lambda b: b.monkeypatch.setenv("CHARTER_BLOBS_URL", "s4://bucket/blobs"), ("apply",)),
    "blobs-unwritable": (2, lambda b: b.monkeypatch.setenv("CHARTER_BLOBS_URL", "/proc/none"), ("apply",)),
    "home-is-a-file": (2, lambda b: b.monkeypatch.setenv("CHARTER_HOME", str(b.csv)),
                       ("identity", "create", "zoe", "--by", "ann")),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
def test_surroundings_that_do_not_fit(name: str, bench: Bench) -> None:
    code, spoil, command = UNFIT[name]
    spoil(bench)
    bench.refused(f"environment-{name}", code, *command)


def unreachable(_place: object) -> bytes:
    raise DataError("cannot be reached: there is no network")


def test_a_data_set_that_cannot_be_fetched(bench: Bench) -> None:
    bench.monkeypatch.setattr("charter.data.io.fetch.bring", unreachable)
    bench.monkeypatch.setenv("CHARTER_DATA", str(bench.root / "nowhere"))
    bench.edit("uri: bills.csv", "dataset: taiwan-default")
    bench.refused("environment-no-network", 2, "apply")


@pytest.mark.parametrize(
    "content", ["PAR1 and nothing more", "ID,AGE\n1,20\n"], ids=["damaged", "other-rows"]
)
def test_a_data_set_that_is_not_the_one_it_says(
    content: str, bench: Bench, request: pytest.FixtureRequest
) -> None:
    folder = bench.root / "sets" / "taiwan_default"
    folder.mkdir(parents=True)
    (folder / "UCI_Credit_Card.csv").write_text(content)
    bench.monkeypatch.setenv("CHARTER_DATA", str(folder.parent))
    bench.edit("uri: bills.csv", "dataset: taiwan-default")
    bench.refused(f"environment-data-set-{request.node.callspec.id}", 2, "apply")


def test_a_real_process_ends_with_the_same_words_and_code(fresh: Bench) -> None:
    """What the other tests run in this process is what a terminal gets."""
    fresh.edit("seed: 7", "seed: many")
    inside = fresh.run("check")
    command = [str(Path(sys.executable).with_name("charter")), "check"]
    ran = subprocess.run(command, cwd=fresh.root, capture_output=True, text=True, check=False, env=os.environ)
    assert (ran.returncode, ran.stdout, ran.stderr) == (inside.code, inside.out, inside.err)
    assert ran.returncode == 2


@pytest.mark.parametrize(
    ("name", "number", "command"),
    [("read-only", errno.EROFS, ("apply",)), ("disk-full", errno.ENOSPC, ("card", "v1"))],
)
def test_a_disk_that_takes_nothing(name: str, number: int, command: tuple[str, ...], bench: Bench) -> None:
    """Rights do not bind an administrator, so the refusal of the system is played."""

    def refuse(path: object) -> NoReturn:
        raise OSError(number, os.strerror(number), str(path))

    opened, made = Path.open, tempfile.mkstemp

    def opening(path: Path, *how: Any, **more: Any) -> Any:
        return refuse(path) if path.name == "lock" else opened(path, *how, **more)

    with bench.unchanged(), pytest.MonkeyPatch.context() as patch:
        if name == "read-only":
            patch.setattr(Path, "open", opening)
        else:
            patch.setattr(
                tempfile, "mkstemp", lambda **how: refuse(how["dir"]) if "dir" in how else made(**how)
            )
        ran = bench.run(*command)
    bench.golden(f"environment-{name}", ran, command)
    assert ran.code == 2


@pytest.mark.parametrize("target", [".charter/records.sqlite", "model.yaml"])
def test_no_report_is_written_over_what_is_kept(target: str, bench: Bench) -> None:
    path = bench.root / target
    before = path.read_bytes() if path.exists() else None
    for command in (
        ("card", "v1", "--to"),
        ("verify", "v1", "--junit"),
        ("data", "profile", "bills.csv", "--out"),
    ):
        ran = bench.run(*command, str(path))
        assert (ran.code, "Charter's own" in ran.seen) == (2, True)
    assert (path.read_bytes() if path.exists() else None) == before
