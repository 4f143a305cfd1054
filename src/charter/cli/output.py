"""How the command line speaks: aligned text for people, one JSON document for machines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer

from charter.core.decision import Decision, Verdict
from charter.core.digest import plain
from charter.core.errors import UsageError
from charter.core.text import printable

JSON = typer.Option(False, "--json", help="Print one JSON document for machines.")
_WIDEST = 72
SYMBOLS = {Verdict.PASS: "ok", Verdict.WARN: " !", Verdict.FAIL: "NO", Verdict.UNKNOWN: " ?"}


def say(text: str = "") -> None:
    """Print text for people; its line breaks are ours, other control characters of quoted words are shown as such."""
    typer.echo("\n".join(printable(line) for line in text.split("\n")))


def emit(document: Any) -> None:
    """Print one JSON document; what is not a number becomes null."""
    typer.echo(json.dumps(plain(document), ensure_ascii=False, indent=2))


def table(
    rows: Iterable[Sequence[str]], *, head: Sequence[str] = (), indent: int = 2, right: Iterable[int] = ()
) -> None:
    """Print aligned columns; the last one is not padded, and one long cell does not push all others away."""
    body = [tuple(printable(str(cell)) for cell in row) for row in rows]
    every = [tuple(head), *body] if head else body
    if not every:
        return
    widths = [_width([len(row[i]) for row in every if i < len(row)]) for i in range(max(map(len, every)))]
    to_right = set(right)
    for row in every:
        cells = [c.rjust(widths[i]) if i in to_right else c.ljust(widths[i]) for i, c in enumerate(row)]
        say((" " * indent + "  ".join(cells)).rstrip())


def _width(lengths: Sequence[int]) -> int:
    """Width of a column: its longest cell, unless that is an outlier beyond what fits a terminal."""
    longest = max(lengths)
    return longest if longest <= _WIDEST else max([n for n in lengths if n <= _WIDEST], default=0)


def show_decision(decision: Decision, *, indent: int = 5) -> None:
    """Print each check of a decision with what was observed, required, and where that stands."""
    order = {Verdict.FAIL: 0, Verdict.UNKNOWN: 1, Verdict.WARN: 2, Verdict.PASS: 3}
    checks = sorted(decision.checks, key=lambda c: order[c.verdict])
    rows = [
        (
            SYMBOLS[c.verdict],
            c.name,
            c.observed,
            f"required {c.required}" if c.required else "",
            c.where or "",
            c.note,
        )
        for c in checks
    ]
    table(rows, indent=indent)


def elsewhere(path: Path | None) -> Path | None:
    """Refuse to write over a specification, its sources, or what Charter keeps: the callback of options that write."""
    if path is None:
        return None
    whole = path.resolve()
    if ".charter" in whole.parts or whole.name == "model.yaml":
        raise typer.BadParameter(f"{path} is Charter's own; name another file")
    for folder in dict.fromkeys((whole.parent, whole.parent.parent, Path.cwd())):
        if whole in _sources(folder):
            raise typer.BadParameter(f"{path} is a source of {folder / 'model.yaml'}; name another file")
    return path


def unread(path: Path | None, *read: Path | None) -> None:
    """Refuse to write over a file that the same command reads."""
    for one in read:
        if path is not None and one is not None and path.resolve() == one.resolve():
            raise UsageError(
                f"{path} is what is read; it would be gone", remedy="Name another file to write."
            )


def _sources(folder: Path) -> set[Path]:
    """Files that a folder's specification reads, sound or not."""
    try:
        text = (folder / "model.yaml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return set()
    return {
        (folder / uri.strip("'\"")).resolve()
        for uri in re.findall(r"\buri:\s*(\"[^\"]+\"|'[^']+'|[^\s,}]+)", text)
    }
