"""The sections of a model card that a person writes: which are there, and which the specification requires. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from charter.core.decision import Check, Verdict
from charter.spec.notices import is_written
from charter.spec.types import Section

if TYPE_CHECKING:
    from charter.spec.types import ModelSpec

OF_PURPOSE = ("limits", "harms", "risks", "assumptions")
MEANS: Mapping[str, str] = {
    "intended_use": "what the model is for",
    "out_of_scope": "uses that are not meant",
    "limitations": "where the model is known to be wrong or weak",
    "tradeoffs": "what was given up for what",
    "ethics": "what may go wrong for people, and what is done about it",
    "groups": "groups of people that may be disadvantaged",
    "contacts": "for what to write to whom",
    "update_schedule": "when the model is looked at and trained anew",
    "compliance": "laws and policies that apply, and how they are met",
    "licence": "under which terms the model may be used",
    "references": "papers, policies, tickets",
    "limits": "where the model must not be used",
    "harms": "what a wrong answer does to whom",
    "risks": "what may keep it from its objective",
    "assumptions": "what must hold for it to work",
    "stakeholders": "who has a say",
}
"""Section to what it says."""


def place(section: str) -> tuple[str, ...]:
    """Where a section stands in the specification.

    Examples
    --------
    >>> place("ethics"), place("limits"), place("stakeholders")
    (('card', 'ethics'), ('purpose', 'limits'), ('stakeholders',))
    """
    if section == "stakeholders":
        return (section,)
    return ("purpose" if section in OF_PURPOSE else "card", section)


def written(spec: ModelSpec, section: str) -> Any:
    """What stands in a section: texts, mappings, or nothing; a text that is only a draft's question is nothing."""
    value: Any = spec
    for name in place(section):
        value = getattr(value, name)
    if isinstance(value, str):
        return value if is_written(value) else None
    if isinstance(value, Mapping):
        return {name: text for name, text in value.items() if is_written(text)}
    return tuple(one for one in value or () if not isinstance(one, str) or is_written(one))


def statements(spec: ModelSpec) -> dict[str, Any]:
    """Sections of ``card`` as plain data; what is missing says so, with its place and meaning."""
    found: dict[str, Any] = {}
    for section in get_args(Section):
        if place(section)[0] != "card":
            continue
        value = written(spec, section)
        if not value:
            found[section] = [missing(section)]
        elif isinstance(value, str):
            found[section] = [value]
        elif isinstance(value, Mapping):
            found[section] = [f"{name}: {text}" for name, text in value.items()]
        else:
            found[section] = [one if isinstance(one, str) else _told(one.model_dump()) for one in value]
    return found


def _told(entry: Mapping[str, Any]) -> str:
    """Say a concern or a group in one line."""
    (_, first), *rest = entry.items()
    said = "; ".join(f"{name}: {text if text is not None else 'missing'}" for name, text in rest)
    return f"{first} ({said})"


def missing(section: str) -> str:
    """What stands on a card in place of a section that nobody has written.

    Examples
    --------
    >>> missing("licence")
    'missing: card.licence, under which terms the model may be used'
    """
    return f"missing: {'.'.join(place(section))}, {MEANS[section]}"


def sections(spec: ModelSpec, where: Callable[[tuple[str, ...]], str]) -> Iterator[Check]:
    """Hold the card against ``card.required``."""
    for section in spec.card.required:
        there = bool(written(spec, section))
        yield Check(
            f"model card: {section.replace('_', ' ')}",
            "written" if there else "missing",
            "written",
            Verdict.PASS if there else Verdict.FAIL,
            where(("card", "required")),
            "" if there else f"write {'.'.join(place(section))}: {MEANS[section]}",
        )


def unwritten(spec: ModelSpec) -> Sequence[str]:
    """Sections that nobody has written."""
    return [section for section in get_args(Section) if not written(spec, section)]
