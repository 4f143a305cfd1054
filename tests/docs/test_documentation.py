"""What the documentation shows is true: commands exist and run, specifications are sound, tables are current."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from documents import Block, Run, blocks, commands, mentioned, pages
from pydantic import TypeAdapter, ValidationError

from charter.cli.main import app
from charter.spec.loader import loads
from charter.spec.types import ModelSpec

ROOT = Path(__file__).resolve().parents[2]
PAGES = {path.relative_to(ROOT).as_posix(): path for path in pages(ROOT)}
STAY = {
    "demo": "minutes; tests/e2e runs it",
    "serve": "serves until Ctrl-C; tests/e2e runs it",
}


@pytest.mark.parametrize("page", PAGES)
def test_every_command_shown_exists(page: str) -> None:
    """Each command line parses: the command is there and takes these arguments and options."""
    for block in blocks(PAGES[page], ROOT):
        for command in commands(block):
            if command.words[0] == "charter":
                _parse(list(command.words[1:]), command.where)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_mentioned_exists(page: str) -> None:
    for words in sorted(mentioned(PAGES[page])):
        node: Any = typer.main.get_command(app)
        for word in words:
            if not hasattr(node, "commands"):
                break
            assert word in node.commands, f"{page}: `charter {' '.join(words)}` is no command"
            node = node.commands[word]


@pytest.mark.parametrize(
    "page", [page for page, path in PAGES.items() if any(commands(b) for b in blocks(path, ROOT))]
)
def test_every_command_shown_runs(
    page: str, fresh: Path, tmp_path: Path, charter: Run, request: pytest.FixtureRequest
) -> None:
    """A page's commands run in order, in the built example unless its block says otherwise."""
    for block in blocks(PAGES[page], ROOT):
        if "skip" in block.directive:
            continue
        place = fresh
        if block.directive.get("in") == "empty":
            place = tmp_path / f"empty-{block.line}"
            place.mkdir()
        if block.directive.get("in") == "forecast":
            place = Path(
                shutil.copytree(request.getfixturevalue("forecast"), tmp_path / f"forecast-{block.line}")
            )
        if block.directive.get("in") == "released":
            place = Path(
                shutil.copytree(request.getfixturevalue("released"), tmp_path / f"released-{block.line}")
            )
        for command in commands(block):
            first, *rest = command.words
            if first == "cd":
                place = place / rest[0]
                assert place.is_dir(), f"{command.where}: there is no folder {rest[0]}"
            elif rest[0] not in STAY:
                outcome = charter(*rest, cwd=place)
                told = f"{command.where}: {' '.join(command.words)}\n{outcome.stdout}\n{outcome.stderr}"
                assert outcome.returncode == command.exit_code, told
                assert "Traceback" not in outcome.stderr, told


def _yaml_blocks() -> list[Block]:
    found = [b for path in PAGES.values() for b in blocks(path, ROOT) if b.language == "yaml"]
    return [b for b in found if re.match(r"[a-z_]+:", b.text)]


@pytest.mark.parametrize("block", _yaml_blocks(), ids=lambda b: b.where)
def test_specifications_shown_are_sound(block: Block) -> None:
    """A whole specification loads. A fragment uses fields and values that there are; it may leave out others."""
    if block.text.startswith("spec_version"):
        loads(block.text, block.where)
        return
    content = yaml.safe_load(block.text)
    if not set(content) <= set(ModelSpec.model_fields):
        pytest.skip("not a fragment of a specification")
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(ModelSpec).validate_python(content)
    bearable = {"missing", "value_error"}
    faults: list[Any] = [e for e in caught.value.errors() if e["type"] not in bearable]
    assert not faults, faults


def test_the_field_reference_is_current(root: Path) -> None:
    found = importlib.util.spec_from_file_location("fields", root / "docs" / "fields.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    assert (root / "docs" / "fields.md").read_text(encoding="utf-8") == module.page(), "run `make docs`"


def test_the_documentation_builds_without_a_warning(root: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    home = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"https?://", home), (
        "a page fetches from elsewhere"
    )


def _parse(words: list[str], where: str) -> None:
    node: Any = typer.main.get_command(app)
    context = None
    while hasattr(node, "commands"):
        if node.invoke_without_command and (not words or words[0].startswith("-")):
            break  # a group that is a command as well
        context = node.make_context(node.name, words[:1], parent=context, resilient_parsing=True)
        assert words, f"{where}: a command is missing"
        assert words[0] in node.commands, f"{where}: {words[0]!r} is no command"
        node, words = node.commands[words[0]], words[1:]
    try:
        node.make_context(node.name, words, parent=context)
    except Exception as error:  # Typer brings a Click of its own, whose errors it does not export
        pytest.fail(f"{where}: {error}")
