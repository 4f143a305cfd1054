"""What is needed and missing: the gaps that the owner named, and those that the specification shows by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from charter.spec.types import ModelSpec

KINDS = ("data", "algorithm", "infrastructure", "deployment", "scale")


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that is missing.

    Attributes
    ----------
    kind
        One of the five kinds of requirement, or ``governance``.
    what
        What is missing.
    closed_by
        How it is closed; empty when nobody said.
    path
        Where the specification says so, or would.
    """

    kind: str
    what: str
    closed_by: str
    path: tuple[str, ...]

    @property
    def open(self) -> bool:
        """Whether nothing closes it yet."""
        return not self.closed_by

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"kind": self.kind, "what": self.what, "closed_by": self.closed_by, "path": list(self.path)}


@dataclass(frozen=True, slots=True)
class FeasibilityReport:
    """The gaps, declared ones first."""

    gaps: tuple[Gap, ...]

    @property
    def feasible(self) -> bool:
        """Whether each gap is closed by something."""
        return not any(gap.open for gap in self.gaps)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"feasible": self.feasible, "gaps": [gap.to_json() for gap in self.gaps]}


def feasibility(spec: ModelSpec) -> FeasibilityReport:
    """Collect the gaps between what is needed and what there is.

    Besides declared gaps: a kind of requirement that nobody considered, labels that come late, sources without a legal
    basis, no executable process of today to compare with, no fallback, no approval.
    """
    return FeasibilityReport((*_declared(spec), *_shown(spec)))


def _declared(spec: ModelSpec) -> Iterator[Gap]:
    for kind in KINDS:
        need = getattr(spec.feasibility, kind)
        if need is None:
            yield Gap(kind, f"nobody said what {kind} is needed", "", ("feasibility", kind))
        elif need.gap is not None:
            yield Gap(kind, need.gap, need.closed_by or "", ("feasibility", kind))


def _shown(spec: ModelSpec) -> Iterator[Gap]:
    label = spec.data.label
    if label.wait_text is not None and label.wait:
        path = ("data", "label", "known_after" if label.known_after else "over_next")
        yield Gap(
            "data",
            f"labels are known after {in_words(label.wait_text)}",
            "quality is estimated until then",
            path,
        )
    for name, source in spec.data.sources.items():
        if source.consent is None:
            yield Gap("data", f'no consent recorded for source "{name}"', "", ("data", "sources", name))
    if spec.purpose.today.rule is None and spec.train.task == "binary":
        yield Gap(
            "algorithm",
            "today's process is not executable, so the model is compared with the majority alone",
            "",
            ("purpose", "today"),
        )
    if spec.serve.fallback is None:
        yield Gap("deployment", "nothing answers when the model cannot", "", ("serve",))
    if not spec.approve.stages:
        yield Gap("governance", "nobody has to approve a release", "", ("approve",))


def in_words(duration: str) -> str:
    """Write a duration in words.

    Examples
    --------
    >>> in_words("30d"), in_words("1w"), in_words("12h")
    ('30 days', '1 week', '12 hours')
    """
    count, unit = (
        int(duration[:-1]),
        {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week"}[duration[-1]],
    )
    return f"{count} {unit}{'s' if count != 1 else ''}"
