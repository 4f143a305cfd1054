"""Workspaces to break, and the comparison of what Charter says with what it should say."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from charter.cli.main import _run
from charter.core.clock import ManualClock

HERE = Path(__file__).resolve().parent
EXPECTED = HERE / "expected"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CSV = "bills.csv"
RECORDED = ("results", "versions", "identities", "grants", "approvals", "deployments")
_HEX = re.compile(r"\b(?:[0-9a-f]{64}|[0-9a-f]{32}|[0-9a-f]{16}|[0-9a-f]{12}|[0-9a-f]{8})\b")
_TOOK = re.compile(r"(?:up to date|\b[0-9]+\.[0-9] s)$", re.MULTILINE)
_WILL_TAKE = re.compile(r", about [0-9]+ s$", re.MULTILINE)  # said only of what takes seconds
_SHELF = re.compile(r"blobs/[0-9a-f]{2}/")
_TINY = re.compile(r"\b[0-9]\.[0-9]e-0[6-9]\b")
_USED: set[str] = set()


def bills(rows: int = 600) -> str:
    """Made-up customers: those who were late before are likelier to miss the next bill."""
    rng = np.random.default_rng(7)
    late, income = rng.integers(0, 5, rows), rng.uniform(900, 6000, rows).round(2)
    debt = rng.uniform(0, 9000, rows).round(2)
    chance = 1 / (1 + np.exp(-(0.8 * late - 2.2 + debt / 6000 - income / 5000)))
    missed = (rng.random(rows) < chance).astype(int)
    region, sex = rng.choice(["north", "south", "west"], rows), rng.choice(["f", "m"], rows)
    day = np.datetime64("2024-01-01") + rng.integers(0, 365, rows)
    lines = ["id,income,debt,months_late,region,sex,billed_at,missed"]
    lines += [
        f"{i + 1},{income[i]},{debt[i]},{late[i]},{region[i]},{sex[i]},{day[i]},{missed[i]}"
        for i in range(rows)
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Ran:
    """What a command answered; ``seen`` is what a person sees, both streams in order."""

    code: int
    out: str
    err: str
    seen: str


class _Tee(io.StringIO):
    """A stream of its own that also writes to a common one."""

    def __init__(self, common: io.StringIO) -> None:
        super().__init__()
        self._common = common

    def write(self, text: str) -> int:
        self._common.write(text)
        return super().write(text)


@dataclass
class Bench:
    """A workspace of one's own, its keys, and a clock that stands still."""

    root: Path
    home: Path
    monkeypatch: pytest.MonkeyPatch

    def __post_init__(self) -> None:
        self.monkeypatch.chdir(self.root)
        self.monkeypatch.setenv("CHARTER_HOME", str(self.home))
        self.monkeypatch.delenv("CHARTER_DEBUG", raising=False)
        self.at(NOW)

    @property
    def spec(self) -> Path:
        return self.root / "model.yaml"

    @property
    def csv(self) -> Path:
        return self.root / CSV

    @property
    def state(self) -> Path:
        return self.root / ".charter"

    def at(self, moment: datetime) -> None:
        """Let it be this moment."""
        self.monkeypatch.setattr("charter.flow.workspace.SystemClock", lambda: ManualClock(moment))

    def edit(self, old: str, new: str, path: Path | None = None) -> None:
        """Replace text that stands exactly once in the specification (or another file)."""
        path = path or self.spec
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path.name}"
        path.write_text(text.replace(old, new))

    def line(self, number: int, change: Callable[[list[str]], None]) -> None:
        """Change the fields of a line of the data; 0 is the header."""
        lines = self.csv.read_text().splitlines()
        fields = lines[number].split(",")
        change(fields)
        lines[number] = ",".join(fields)
        self.csv.write_text("\n".join(lines) + "\n")

    def field(self, number: int, column: str, value: str) -> None:
        """Put a value into a row of the data."""
        place = self.csv.read_text().splitlines()[0].split(",").index(column)
        self.line(number, lambda fields: fields.__setitem__(place, value))

    def run(self, *arguments: str) -> Ran:
        """Run a command in this process."""
        seen = io.StringIO()
        out, err = _Tee(seen), _Tee(seen)
        with redirect_stdout(out), redirect_stderr(err):
            code = _run(list(arguments))
        return Ran(code, out.getvalue(), err.getvalue(), seen.getvalue())

    def refused(self, name: str, code: int, *arguments: str) -> Ran:
        """Run a command that must refuse, say exactly what is expected, and change nothing."""
        with self.unchanged(recording=arguments[0] in ("apply", "approve", "reject")):
            ran = self.run(*arguments)
        self.golden(name, ran, arguments)
        assert ran.code == code, f"exit {ran.code}, expected {code}:\n{ran.seen}"
        return ran

    def golden(self, name: str, ran: Ran, arguments: tuple[str, ...]) -> None:
        """Compare what was said with what is expected."""
        assert "Traceback" not in ran.seen
        shown = " ".join(a if a and " " not in a and '"' not in a else f"'{a}'" for a in arguments)
        golden(name, self.plain(f"$ charter {shown}   (exit {ran.code})\n{ran.seen}"))

    def plain(self, text: str) -> str:
        """Take out what differs between two runs: folders and digests."""
        for folder, word in ((self.root, "<workspace>"), (self.home, "<home>")):
            text = text.replace(str(folder), word)
        return plain(text)

    @contextmanager
    def unchanged(self, *, recording: bool = False) -> Iterator[None]:
        """Nothing may change meanwhile. A refused ``apply`` or signature is itself recorded, in the trail alone."""
        if not recording:
            before = files(self.root), files(self.home)
            yield
            assert (files(self.root), files(self.home)) == before
            return
        before_files, before_records = mine(self.root), records(self.state)
        blobs = set(files(self.state / "blobs"))
        yield
        assert mine(self.root) == before_files
        assert records(self.state) == before_records
        after = set(files(self.state / "blobs"))
        assert blobs <= after
        assert len(after - blobs) <= 1, "more was kept than the specification that was refused"
        assert not (self.state / "scratch").exists()


def plain(text: str) -> str:
    """Take out digests, the time that something took, and numbers at the edge of arithmetic."""
    text = _WILL_TAKE.sub("", text)
    text = _TOOK.sub("<time>", _HEX.sub("<digest>", _SHELF.sub("blobs/<shelf>/", text)))
    return _TINY.sub("<tiny>", text)


def golden(name: str, text: str) -> None:
    """Compare a text with ``expected/NAME.txt``; ``CHARTER_UPDATE_GOLDEN=1`` rewrites the file instead."""
    assert name not in _USED, f"two tests share the expectation {name}"
    _USED.add(name)
    text = "\n".join(line.rstrip() for line in text.splitlines()).rstrip("\n") + "\n"
    path = EXPECTED / f"{name}.txt"
    if os.environ.get("CHARTER_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.is_file(), f"{path.name} is not there; CHARTER_UPDATE_GOLDEN=1 writes it"
    assert text == path.read_text()


def files(folder: Path) -> dict[str, str]:
    """Every file below a folder: mode and digest of the content. A lock that nobody holds is empty."""
    found = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        if path.is_symlink():
            found[str(path.relative_to(folder))] = f"-> {path.readlink()}"
        elif path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(folder))] = f"{path.stat().st_mode:o} {digest}"
    return found


def mine(root: Path) -> dict[str, str]:
    """The user's own files."""
    return {name: what for name, what in files(root).items() if not name.startswith(".charter")}


def records(state: Path) -> dict[str, list[tuple[object, ...]]]:
    """Everything that is recorded but the trail and the specifications that were tried."""
    path = state / "records.sqlite"
    if not path.is_file():
        return {table: [] for table in RECORDED}
    connection = sqlite3.connect(path)
    try:
        found = {table: sorted(connection.execute(f"SELECT * FROM {table}"), key=repr) for table in RECORDED}
        columns = [row[1] for row in connection.execute("PRAGMA table_info(results)")]
    finally:
        connection.close()
    # Going back to an earlier specification marks a result as used again; that is no new result.
    stage, used = columns.index("stage"), columns.index("used")
    found["results"] = [
        tuple(v for i, v in enumerate(row) if i != used) for row in found["results"] if row[stage] != "spec"
    ]
    return found


def copy(source: Path, target: Path) -> Path:
    """Copy a workspace with all modes."""
    shutil.copytree(source, target, symlinks=True)
    return target
