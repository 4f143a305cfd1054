"""What changed between two specifications, in words, and which stages that invalidates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from charter.core.quantity import Requirement
from charter.spec.document import Path
from charter.spec.parts import READ_AGAIN, PartName, dotted, ordered, part_of
from charter.spec.types import ModelSpec

STAGES = ("snapshot", "features", "train", "evaluate", "gate", "package", "approve", "release")
"""In the order in which they run."""

FIRST_STAGE: Mapping[PartName, str | None] = {
    "data": "snapshot",
    "features": "features",
    "train": "train",
    "evaluate": "evaluate",
    "gate": "gate",
    "serve": "package",
    "approve": "approve",
    "words": None,
}
"""Earliest stage that reads a part."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Attributes
    ----------
    path
        What changed: a value, or a whole entry that was added or removed.
    before, after
        Plain data; None where there was or is nothing.
    part
        The part that it belongs to.
    words
        The change as a sentence without a full stop.
    """

    path: Path
    before: Any
    after: Any
    part: PartName
    words: str

    @property
    def where(self) -> str:
        """The path as people write it."""
        return dotted(self.path)

    @property
    def stage(self) -> str | None:
        """Earliest stage that must run again; None when only words changed."""
        return FIRST_STAGE[self.part]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "path": self.where,
            "before": self.before,
            "after": self.after,
            "part": self.part,
            "stage": self.stage,
            "words": self.words,
        }


def diff(before: ModelSpec, after: ModelSpec) -> list[Change]:
    """Compare two specifications.

    Returns
    -------
    Changes in the order of the file. A default that is written out, another order of keys where order means nothing,
    and comments are no changes.
    """
    return list(_compare(before.model_dump(mode="json"), after.model_dump(mode="json"), ()))


def invalidates(changes: Iterable[Change]) -> tuple[str, ...]:
    """Stages that must run again, in order; empty when only words changed.

    Examples
    --------
    >>> change = Change(("evaluate", "require", "roc_auc"), ">= 0.8", ">= 0.7", "gate", "relaxed")
    >>> invalidates([change])
    ('gate', 'package', 'approve', 'release')
    """
    firsts = [STAGES.index(stage) for change in changes if (stage := FIRST_STAGE[change.part]) is not None]
    return STAGES[min(firsts) :] if firsts else ()


def parts_touched(changes: Iterable[Change]) -> frozenset[PartName]:
    """Parts whose digest changes, with those that read a changed field again."""
    touched: set[PartName] = set()
    for change in changes:
        touched.add(change.part)
        for part, patterns in READ_AGAIN.items():
            if change.part != "words" and any(_overlap(change.path, pattern) for pattern in patterns):
                touched.add(part)
    return frozenset(touched)


def _overlap(path: Path, pattern: tuple[str, ...]) -> bool:
    return all(a == b or b == "*" for a, b in zip(path, pattern, strict=False))


def _compare(before: Any, after: Any, path: Path) -> Iterator[Change]:
    if before == after and not (ordered(path) and list(before) != list(after)):
        if isinstance(before, dict):  # equal as mappings, but an order further down may differ
            for key in before:
                yield from _compare(before[key], after[key], (*path, key))
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            if key not in before or key not in after:
                yield _change((*path, key), before.get(key), after.get(key))
            else:
                yield from _compare(before[key], after[key], (*path, key))
        if ordered(path) and [k for k in before if k in after] != [k for k in after if k in before]:
            part = part_of(path)
            yield Change(path, list(before), list(after), part, f"the order of {dotted(path)} changed")
        return
    yield _change(path, before, after)


def _change(path: Path, before: Any, after: Any) -> Change:
    return Change(path, before, after, part_of(path), f"{dotted(path)} {_words(path, before, after)}")


def _words(path: Path, before: Any, after: Any) -> str:
    if before is None:
        return f"added: {_shown(after)}" if not isinstance(after, dict) else "added"
    if after is None:
        return f"removed (was {_shown(before)})" if not isinstance(before, dict) else "removed"
    if isinstance(before, list) and isinstance(after, list):
        return _list_words(before, after)
    change = f"from {_shown(before)} to {_shown(after)}"
    tightened = _tightened(before, after)
    if tightened is not None:
        return f"{'tightened' if tightened else 'relaxed'} {change}"
    if isinstance(before, bool) or isinstance(after, bool):
        return f"changed {change}"
    if isinstance(before, int | float) and isinstance(after, int | float):
        return f"{'raised' if after > before else 'lowered'} {change}"
    return f"changed {change}"


def _list_words(before: list[Any], after: list[Any]) -> str:
    gained = [entry for entry in after if entry not in before]
    lost = [entry for entry in before if entry not in after]
    parts = []
    if gained:
        parts.append(f"gained {', '.join(_shown(entry) for entry in gained)}")
    if lost:
        parts.append(f"lost {', '.join(_shown(entry) for entry in lost)}")
    return " and ".join(parts) or "changed its order"


def _tightened(before: Any, after: Any) -> bool | None:
    """Whether a requirement became harder to meet; None where that cannot be said."""
    try:
        old, new = Requirement.parse(before), Requirement.parse(after)
    except (TypeError, ValueError):
        return None
    if old.operator[0] != new.operator[0] or "==" in (old.operator, new.operator):
        return None
    if old.limit == new.limit:
        return len(new.operator) < len(old.operator)
    return (new.limit > old.limit) == (new.operator[0] == ">")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{key}: {_shown(entry)}" for key, entry in value.items() if entry is not None)
            + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(_shown(entry) for entry in value) + "]"
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
