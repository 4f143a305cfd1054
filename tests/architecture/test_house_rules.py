"""Rules that no linter knows: modules read in one sitting, nothing unpickled, no machine showing through."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

LINES_AT_MOST = 450


def modules(root: Path) -> Iterator[tuple[str, Path]]:
    package = root / "src" / "charter"
    for path in sorted(package.rglob("*.py")):
        yield path.relative_to(package).as_posix(), path


def tracked(root: Path) -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    return [root / name for name in listing.stdout.split("\0") if name and (root / name).is_file()]


def test_modules_are_read_in_one_sitting(root: Path) -> None:
    long = {
        name: n for name, path in modules(root) if (n := len(path.read_text().splitlines())) > LINES_AT_MOST
    }
    assert not long, f"longer than {LINES_AT_MOST} lines: {long}"


def test_nothing_is_unpickled_or_evaluated(root: Path) -> None:
    """A package is data, an expression is parsed: code never comes out of a file that anybody wrote."""
    found = []
    for name, path in modules(root):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(names=names):
                    unsafe = {alias.name.partition(".")[0] for alias in names} & {
                        "pickle",
                        "joblib",
                        "dill",
                        "cloudpickle",
                        "marshal",
                        "shelve",
                    }
                case ast.ImportFrom(module=str(module)):
                    unsafe = {module.partition(".")[0]} & {
                        "pickle",
                        "joblib",
                        "dill",
                        "cloudpickle",
                        "marshal",
                        "shelve",
                    }
                case ast.Call(func=ast.Name(id=called)):
                    unsafe = {called} & {"eval", "exec", "compile", "__import__"}
                case ast.Call(func=ast.Attribute(value=ast.Name(id="yaml"), attr=called), keywords=keywords):
                    safe = any(k.arg == "Loader" and "Safe" in ast.unparse(k.value) for k in keywords)
                    unsafe = (
                        set()
                        if safe
                        else {f"yaml.{called}"}
                        & {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"}
                    )
                case ast.Call(keywords=keywords):
                    unsafe = {
                        "shell=True" for k in keywords if k.arg == "shell" and ast.unparse(k.value) == "True"
                    }
                case _:
                    continue
            found += [f"{name}:{node.lineno} {what}" for what in sorted(unsafe)]
    assert not found, found


def test_pure_rooms_do_not_read_the_clock_or_the_environment(root: Path) -> None:
    """Clock, ids and environment are arguments; the edge (flow, cli, io, serve) knows their origin."""
    pure = ("spec/", "framing/", "data/", "features/", "train/", "evaluate/", "registry/", "govern/")
    names = re.compile(
        r"\b(datetime\.now|datetime\.utcnow|date\.today|time\.time|os\.environ|os\.getenv|uuid4)\b"
    )
    found = [
        f"{name}:{number} {match.group()}"
        for name, path in modules(root)
        if name.startswith(pure) and "/io/" not in name
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (match := names.search(line.partition("#")[0]))
    ]
    assert not found, found


def test_no_machine_shows_through(root: Path) -> None:
    """No path of a person's machine and no address of a package index in any tracked file."""
    homes = re.compile(rb"(?<![\w.])/(?:root|home/\w+|Users/\w+)/|/work/(?:main|shared|scratch)|\.library/")
    indexes = re.compile(
        rb"(?:index-url|find-links|trusted-host)[ =]+\S*[/.]|https?://[\w.-]*(?:pypi|pythonhosted|npmjs)[\w.-]*"
    )
    found = []
    for path in tracked(root):
        if path == Path(__file__):
            continue
        content = path.read_bytes()
        for rule in (homes, indexes):
            found += [f"{path.relative_to(root)}: {m.group().decode()}" for m in rule.finditer(content)]
    assert not found, found


def test_no_unfinished_business(root: Path) -> None:
    """Nothing is left for later in a comment, and nothing escapes the coverage report."""
    words = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|pragma: no cover|NotImplementedError")
    suites = ("testing/",)  # an author of a plug-in completes these by naming what is to be tested
    found = [
        f"{name}:{number}"
        for name, path in modules(root)
        if not name.startswith(suites)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if words.search(line)
    ]
    assert not found, found


def test_the_lock_file_names_no_machine_and_every_hash(root: Path) -> None:
    lines = (root / "requirements.lock").read_text().splitlines()
    pins = [line for line in lines if re.match(r"[a-z0-9][a-z0-9._-]*==", line)]
    assert len(pins) > 60
    assert all(line.endswith("\\") for line in pins), "every pin is followed by its hashes"
    assert all(
        re.match(r"#|[a-z0-9][a-z0-9._-]*==|    --hash=sha256:[0-9a-f]{64}", line) for line in lines if line
    )
    assert not any(line.startswith("torch==") for line in pins), "torch belongs to the extra 'deep' alone"


def test_the_lock_file_holds_what_the_project_asks_for(root: Path) -> None:
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    asked = list(project["dependencies"])
    for extra in ("serve", "train", "dev"):
        asked += project["optional-dependencies"][extra]
    locked: dict[str, set[str]] = {}
    for pin in re.findall(r"^([a-z0-9._-]+)==(\S+)", (root / "requirements.lock").read_text(), re.MULTILINE):
        locked.setdefault(re.sub(r"[-_.]+", "-", pin[0]), set()).add(pin[1])
    for text in asked:
        need = Requirement(text)
        name = re.sub(r"[-_.]+", "-", need.name.lower())
        if name == "charter-ml":
            continue
        assert name in locked, f"{name} is not in requirements.lock: run `make lock`"
        assert all(need.specifier.contains(v) for v in locked[name]), f"{text}, but locked is {locked[name]}"
