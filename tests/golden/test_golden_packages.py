"""Packages, blobs and records that are not what they were: nothing of them is used (exit 2)."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from golden_support import Bench, copy

from charter.core.digest import digest_bytes
from charter.govern.io import keys
from charter.registry.io import packages

GOOD = '{"income": 2000, "debt": 100, "months_late": 1, "region": "north"}'


def package(bench: Bench) -> Path:
    """Folder of the released package."""
    (found,) = (bench.state / "packages").iterdir()
    return found


def edit_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def flip(path: Path) -> None:
    """Change one bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def signed_by_eve(bench: Bench) -> None:
    packages.sign(package(bench), keys.create("eve", bench.home))


def signed_by_another_builder(bench: Bench) -> None:
    """The right name, the wrong key."""
    packages.sign(package(bench), keys.create("builder", bench.home))


TAMPERED: dict[str, Callable[[Bench], object]] = {
    "model-changed": lambda b: flip(package(b) / "model.onnx"),
    "threshold-lowered": lambda b: edit_json(package(b) / "decision.json", threshold=0.01),
    "file-missing": lambda b: (package(b) / "profile.json").unlink(),
    "file-added": lambda b: (package(b) / "model.pkl").write_bytes(b"cos\nsystem\n"),
    "known-file-added": lambda b: (package(b) / "model.txt").write_text("tree\n"),
    "file-is-a-link": lambda b: (
        (package(b) / "spec.json").rename(b.root / "spec.json"),
        (package(b) / "spec.json").symlink_to(b.root / "spec.json"),
    ),
    "manifest-changed": lambda b: edit_json(package(b) / "manifest.json", name="better-bills"),
    "manifest-missing": lambda b: (package(b) / "manifest.json").unlink(),
    "signature-missing": lambda b: (package(b) / "signature.json").unlink(),
    "signature-damaged": lambda b: (package(b) / "signature.json").write_text("{"),
    "signature-huge": lambda b: (package(b) / "signature.json").write_text(" " * 2_000_000),
    "unknown-signer": signed_by_eve,
    "known-name-other-key": signed_by_another_builder,
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_package_that_cannot_prove_itself_answers_nothing(name: str, bench: Bench) -> None:
    TAMPERED[name](bench)
    told = bench.refused(f"package-{name}", 2, "predict", "--json", GOOD)
    with bench.unchanged():
        served = bench.run("serve", "--port", "0")
    assert (served.code, served.seen) == (2, told.seen)


def blob(bench: Bench, stage: str, name: str | None = None) -> Path:
    """File of a stage's output, or of one file in its tree."""
    connection = sqlite3.connect(bench.state / "records.sqlite")
    (digest,) = connection.execute("SELECT output FROM results WHERE stage = ?", (stage,)).fetchone()
    connection.close()
    folder = bench.state / "blobs"
    if name is not None:
        tree = json.loads((folder / digest[:2] / digest).read_bytes())
        digest = tree["files"][name] if "files" in tree else tree[name]
    return folder / digest[:2] / digest


BLOBS: dict[str, tuple[Callable[[Bench], object], tuple[str, ...]]] = {
    "evaluation-changed": (lambda b: flip(blob(b, "evaluate", "evaluation.json")), ("show", "v1")),
    "evaluation-missing": (lambda b: blob(b, "evaluate", "evaluation.json").unlink(), ("show", "v1")),
    "tree-changed": (lambda b: flip(blob(b, "train")), ("show", "v1")),
    "candidates-changed": (lambda b: flip(blob(b, "train", "candidates.json")), ("card", "v1")),
    "snapshot-changed": (
        lambda b: (flip(blob(b, "snapshot", "bills.parquet")), b.edit('"debt / (income + 1)"', '"debt"')),
        ("apply",),
    ),
}


@pytest.mark.parametrize("name", BLOBS)
def test_a_blob_that_is_not_what_its_name_says_is_not_used(name: str, bench: Bench) -> None:
    spoil, command = BLOBS[name]
    spoil(bench)
    bench.refused(f"blob-{name}", 2, *command)


def test_what_is_lost_is_made_again(bench: Bench) -> None:
    """The remedies hold: a removed package is laid out anew, a removed blob is computed again."""
    before = bench.run("predict", "--json", GOOD)
    shutil.rmtree(package(bench))
    assert bench.run("predict", "--json", GOOD) == before
    blob(bench, "evaluate", "evaluation.json").unlink()
    bench.golden("blob-missing-plan", bench.run("plan"), ("plan",))
    assert bench.run("apply").code == 0
    assert bench.run("show", "v1").code == 0
    assert bench.run("predict", "--json", GOOD) == before


def newer(bench: Bench) -> None:
    connection = sqlite3.connect(bench.state / "records.sqlite")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()


RECORDS: dict[str, Callable[[Bench], object]] = {
    "no-database": lambda b: (b.state / "records.sqlite").write_text("accounts; 2024\n" * 500),
    "by-a-newer-charter": newer,
    "damaged": lambda b: (b.state / "records.sqlite").write_bytes(
        (b.state / "records.sqlite").read_bytes()[:4096] + b"\x07" * 40_000
    ),
}


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("command", ["plan", "apply"])
def test_records_that_cannot_be_read_are_left_alone(name: str, command: str, bench: Bench) -> None:
    RECORDS[name](bench)
    with bench.unchanged():
        ran = bench.run(command)
    bench.golden(f"records-{name}-{command}", ran, (command,))
    assert ran.code == 2


def test_a_package_from_elsewhere_is_not_known_here(bench: Bench) -> None:
    """Whole in itself and well signed, but by somebody whom this workspace does not know."""
    ours = package(bench)
    theirs = copy(ours, bench.root.parent / "theirs")
    edit_json(theirs / "decision.json", threshold=0.01)
    manifest = json.loads((theirs / "manifest.json").read_text())
    data = (theirs / "decision.json").read_bytes()
    manifest["files"]["decision.json"] = {"sha256": digest_bytes(data), "size": len(data)}
    (theirs / "manifest.json").write_text(json.dumps(manifest))
    packages.sign(theirs, keys.create("contractor", bench.home))
    shutil.rmtree(ours)
    theirs.rename(ours)
    bench.refused("package-from-elsewhere", 2, "predict", "--json", GOOD)
