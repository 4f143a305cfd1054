"""Read what the documentation shows: commands, specifications and fragments of them."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Run = Callable[..., subprocess.CompletedProcess[str]]
"""Runs `charter` with words in a folder (``cwd``)."""

_FENCE = re.compile(r"^```(\w*)\s*$")
_DIRECTIVE = re.compile(r"^<!--\s*try:(.*?)-->\s*$")
_EXIT = re.compile(r"\s+#\s*exit (\d)\b.*$|\s+#\s.*$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, with the directive above it: ``<!-- try: in=released -->`` or ``<!-- try: skip=why -->``."""

    page: str
    line: int
    language: str
    text: str
    directive: dict[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Page and line, for messages."""
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True)
class Command:
    """A command line as shown, and the exit code that its comment announces (``# exit 1``)."""

    where: str
    words: tuple[str, ...]
    exit_code: int


def pages(root: Path) -> list[Path]:
    """Return what people read."""
    return [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").rglob("*.md"))]


def blocks(path: Path, root: Path) -> list[Block]:
    """Cut a page into its fenced blocks."""
    found: list[Block] = []
    directive: dict[str, str] = {}
    opened: tuple[int, str] | None = None
    body: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if opened is not None:
            if line.strip() == "```":
                page = path.relative_to(root).as_posix()
                found.append(Block(page, opened[0], opened[1], "\n".join(body), directive))
                opened, directive, body = None, {}, []
            else:
                body.append(line)
        elif match := _DIRECTIVE.match(line):
            directive = dict(part.split("=", 1) for part in shlex.split(match[1]))
        elif match := _FENCE.match(line):
            opened = (number, match[1])
        elif line.strip():
            directive = {}
    assert opened is None, f"{path.name}: a block is not closed"
    return found


def commands(block: Block) -> list[Command]:
    """Return the command lines of a console or shell block: those of `charter`, and changes of folder."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    elif block.language not in ("sh", "shell", "bash"):
        return []
    found = []
    for line in lines:
        comment = _EXIT.search(line)
        text = line[: comment.start()] if comment else line
        if text.startswith(("charter ", "cd ")):
            code = int(comment[1]) if comment and comment[1] else 0
            found.append(Command(block.where, tuple(shlex.split(text)), code))
    return found


def mentioned(path: Path) -> set[tuple[str, ...]]:
    """Return the commands named in running text, up to the first word that is not a lower-case word."""
    found = set()
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r"`charter ([^`]+)`", text):
        words = []
        for word in code.split():
            if not re.fullmatch(r"[a-z]+", word):
                break
            words.append(word)
        found.add(tuple(words))
    return found
