"""Starting a model of one's own: from a reference system, or from one's own table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from charter import __version__
from charter.core import plugins
from charter.core.errors import UsageError
from charter.core.io.files import write_atomic
from charter.core.nearest import advice
from charter.core.settings import Settings
from charter.spec.expand import in_one_line
from charter.spec.notices import UNWRITTEN

WORKFLOW = ".github/workflows/charter.yml"
_SLUG = r"[a-z][a-z0-9]*(-[a-z0-9]+)*"


def blueprint(name: str) -> Traversable:
    """Return the folder of a blueprint.

    Raises
    ------
    UsageError
        When there is no blueprint of that name; lists those that there are.
    """
    known = plugins.names("blueprints")
    if name not in known:
        raise UsageError(f"no reference system is called {name!r}", remedy=advice(name, known))
    folder: Traversable = plugins.load("blueprints", name)()
    return folder


def _as_ones_own(file: str, text: str, system: str, name: str) -> str:
    """Give a reference system's file the model's name, and say what it still tells of: somebody else's model."""
    if file == "README.md":
        note = (
            f"Started from the reference system {system}, which this page describes until you write your own."
        )
        return text.replace(f"# {system}\n", f"# {name}\n\n{note}\n", 1)
    if file != "model.yaml":
        return text
    comments = re.match(r"(#.*\n)*", text)
    body = text[comments.end() if comments is not None else 0 :]
    owner = in_one_line({"team": Settings.from_environment().actor, "contact": f"{UNWRITTEN}: an address"})
    summary = in_one_line(f"{UNWRITTEN}: what does a prediction say, in a sentence?")
    for key, value in (("name", name), ("summary", summary), ("owner", owner)):
        body = re.sub(
            rf"^{key}: .*$", f"{key}: {value}".replace("\\", r"\\"), body, count=1, flags=re.MULTILINE
        )
    return f"# {name}. What is not yet yours still tells of the reference system that this was started from.\n{body}"


def create(folder: Path, start_from: str, *, name: str | None = None) -> tuple[str, ...]:
    """Write a blueprint's files and a workflow for continuous integration into a new folder; return their names.

    ``name`` becomes the model's name; without one it keeps the blueprint's.

    Raises
    ------
    UsageError
        When the folder already holds a file that would be overwritten, or ``name`` cannot be a model's name.
    """
    if name is not None:
        _named(name, "--name")
    source = [
        item for item in blueprint(start_from).iterdir() if item.is_file() and not item.name.endswith(".py")
    ]
    _free(folder, (*(item.name for item in source), WORKFLOW))
    for item in source:
        content = item.read_bytes()
        if name is not None and name != start_from:
            content = _as_ones_own(item.name, content.decode(), start_from, name).encode()
        write_atomic(folder / item.name, content)
    write_atomic(folder / WORKFLOW, workflow().encode())
    return tuple(sorted((WORKFLOW, *(item.name for item in source))))


def begin(
    folder: Path,
    data: Path,
    *,
    name: str | None = None,
    target: str | None = None,
    key: Sequence[str] = (),
    time: str | None = None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Draft a specification from a table; return the files written, and what was taken from the table.

    Parameters
    ----------
    folder
        A new one; the model has its name unless ``name`` says another.
    target, key, time
        Columns of the table, where they are not to be looked for.

    Raises
    ------
    UsageError
        When the folder already holds a file that would be overwritten, a name cannot be a model's, or a column is not
        there.
    DataError
        When the table cannot be read, or holds nothing to learn from.
    """
    from charter.core.clock import SystemClock
    from charter.flow.draft import look, taken
    from charter.flow.draft_text import model_yaml, readme
    from charter.spec.loader import loads

    slug = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-") if name is None else name
    _named(slug, "--name" if name is not None else f"{folder} gives the model its name, and")
    _free(folder, ("model.yaml", "README.md", WORKFLOW))
    settings = Settings.from_environment()
    found = look(data, folder, settings, target=target, key=key, time=time)
    today = SystemClock().now().date()
    text, said = model_yaml(found, slug, actor=settings.actor, today=today), taken(found)
    loads(text)
    content = {"model.yaml": text, "README.md": readme(found, slug, said), WORKFLOW: workflow()}
    for file, words in content.items():
        write_atomic(folder / file, words.encode())
    return tuple(sorted(content)), said


def _named(name: str, what: str) -> None:
    if not (len(name) <= 64 and re.fullmatch(_SLUG, name)):
        raise UsageError(
            f"{what}: {name!r} cannot be a model's name", remedy="Use lower-case words joined by hyphens."
        )


def _free(folder: Path, names: Iterable[str]) -> None:
    taken = [name for name in names if (folder / name).exists()]
    if taken:
        raise UsageError(f"{folder} already holds {', '.join(sorted(taken))}", remedy="Name another folder.")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", remedy="Name another folder.")


def workflow() -> str:
    """Return a GitHub Actions workflow that checks the specification, plans, builds and verifies with this Charter."""
    text = (resources.files("charter.flow") / "templates" / "charter.yml").read_text(encoding="utf-8")
    return text.replace("@VERSION@", __version__)
