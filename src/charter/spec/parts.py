"""Which stage each field of a specification belongs to: a change invalidates that stage and those after it.

`PARTS` gives each field one part: the earliest stage that reads it. Some fields are read by a later stage again, and
since a stage's key holds the *outputs* of the stages before it, not their keys, these stand in `READ_AGAIN`, too: a
new seed leaves a split by time as it was, and must retrain all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

from charter.core.digest import Digest, digest_json
from charter.spec.document import Path
from charter.spec.shape import ANY, leaves
from charter.spec.types import ModelSpec

PartName = Literal["data", "features", "train", "evaluate", "gate", "serve", "approve", "words"]

PART_NAMES: tuple[PartName, ...] = (
    "data",
    "features",
    "train",
    "evaluate",
    "gate",
    "serve",
    "approve",
    "words",
)
"""In the order of the stages; ``words`` invalidates nothing."""

_TABLE: tuple[tuple[str, PartName], ...] = (
    # data: what is read and how it is cleaned
    ("data.sources", "data"),
    ("data.sources.*.description", "words"),
    ("data.sources.*.consent", "words"),
    ("data.sources.*.columns.*.description", "words"),
    ("data.sources.*.columns.*.unit", "words"),
    # features: what one observation is, its label, its side of the split, and what the model sees
    ("data.observations", "features"),
    ("data.label", "features"),
    ("features", "features"),
    ("features.windows.*.description", "words"),
    ("features.lags.*.description", "words"),
    ("train.task", "features"),
    ("train.seed", "features"),
    ("train.split", "features"),
    ("train.steps_per_target", "features"),
    # train
    ("train", "train"),
    ("train.split.folds", "train"),
    # the fields of a request stand in the bundle
    ("serve.identifiers", "train"),
    # evaluate: what is measured
    ("evaluate", "evaluate"),
    ("purpose.today.rule", "evaluate"),
    ("purpose.today.score", "evaluate"),
    ("inventory", "evaluate"),
    ("value.per_decision", "evaluate"),
    ("value.volume", "evaluate"),
    ("value.costs", "evaluate"),
    # what an answer costs is measured with its reasons
    ("serve.reasons", "evaluate"),
    ("serve.reasons_for", "evaluate"),
    # gate: what is required
    ("evaluate.require", "gate"),
    ("evaluate.require_new_series", "gate"),
    ("evaluate.beat_baseline", "gate"),
    ("evaluate.fairness.demographic_parity_difference", "gate"),
    ("evaluate.fairness.equal_opportunity_difference", "gate"),
    ("evaluate.fairness.false_positive_rate_difference", "gate"),
    ("evaluate.fairness.disparate_impact_ratio", "gate"),
    ("kpis", "gate"),
    ("kpis.*.description", "words"),
    ("budget", "gate"),
    # what a person must have written, where the card requires it
    ("card", "gate"),
    ("purpose.limits", "gate"),
    ("purpose.harms", "gate"),
    ("purpose.risks", "gate"),
    ("purpose.assumptions", "gate"),
    ("stakeholders", "gate"),
    # serve: how answers look
    ("name", "serve"),
    ("serve", "serve"),
    ("approve", "approve"),
    # words: for people
    ("spec_version", "words"),
    ("summary", "words"),
    ("owner", "words"),
    ("purpose", "words"),
    ("suitability", "words"),
    ("feasibility", "words"),
    ("value", "words"),
    ("value.costs.build", "words"),
    ("value.costs.compute_per_hour", "words"),
    # what is watched after release: the next pass of the monitor takes it up
    ("monitor", "words"),
    # which answers persons look at: the queue is drawn from the log anew each time
    ("review", "words"),
    # when to train anew: the next `charter retrain` takes it up
    ("retrain", "words"),
    # how one version follows another: the next experiment or comparison takes it up
    ("release", "words"),
    # the way to full traffic is part of what the approvers sign
    ("release.rollout", "approve"),
)
PARTS: dict[tuple[str, ...], PartName] = {tuple(pattern.split(".")): part for pattern, part in _TABLE}
"""Part by pattern; of several patterns that fit a field, the longest counts."""

READ_AGAIN: dict[PartName, tuple[tuple[str, ...], ...]] = {
    # What a column is decides whether and how it becomes a feature, even where its rows stay as they were.
    "features": (
        ("data", "sources", ANY, "columns"),
        ("data", "sources", ANY, "derive"),
        # The rows that the folds of a forecast judge.
        ("train", "split", "folds"),
    ),
    # The bundle checks what it is given at serving time by the same contract.
    "train": (
        ("train", "task"),
        ("train", "seed"),
        ("data", "sources", ANY, "columns"),
        ("data", "sources", ANY, "derive"),
        ("data", "sources", ANY, "rules"),
        ("data", "sources", ANY, "where"),
    ),
    "serve": (("serve", "reasons"), ("serve", "reasons_for")),
}
"""Fields that a later stage reads as well."""

_ORDERED = {
    ("data", "sources", ANY, "columns"),
    ("data", "sources", ANY, "derive"),
    ("features", "rows"),
    ("features", "windows"),
    ("features", "lags"),
}
"""Mappings whose order shows in the result: the order of the model's inputs."""

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def part_of(path: Path) -> PartName:
    """Part of a field; of a whole branch, the earliest part in it.

    Examples
    --------
    >>> part_of(("evaluate", "require", "roc_auc")), part_of(("data", "sources", "x", "consent")), part_of(("value",))
    ('gate', 'words', 'evaluate')
    """
    own = _longest(path)
    below = [part for pattern, part in PARTS.items() if len(pattern) > len(path) and _begins(pattern, path)]
    whole = [leaf for leaf in leaves() if _begins(leaf, path)]
    if below and not any(len(leaf) <= len(path) for leaf in whole):
        found = {_longest(leaf) for leaf in whole}
        return min(found, key=PART_NAMES.index)
    return own


def _longest(path: Path) -> PartName:
    """Part by the longest pattern that fits, found in a tree of the patterns."""
    nodes: list[dict[str, Any]] = [_TREE]
    part: PartName | None = None
    for key in path:
        nodes = [node[step] for node in nodes for step in dict.fromkeys((key, ANY)) if step in node]
        part = next((node[""] for node in nodes if "" in node), part)
    if part is None:
        raise KeyError(f"{dotted(path)} belongs to no part")
    return part


def _tree() -> dict[str, Any]:
    root: dict[str, Any] = {}
    for pattern, part in PARTS.items():
        node = root
        for key in pattern:
            node = node.setdefault(key, {})
        node[""] = part
    return root


_TREE = _tree()


def _begins(path: Path, start: Path) -> bool:
    return all(a == b or ANY in (a, b) for a, b in zip(path, start, strict=False)) and len(start) <= len(path)


def part_values(spec: ModelSpec, part: PartName) -> dict[str, Any]:
    """Plain values of a part by dotted path, defaults included, None left out.

    A default that is written out is thus the same as one that is not.
    """
    return _by_part(spec)[part]


def part_digest(spec: ModelSpec, part: PartName) -> Digest:
    """Digest of a part: equal exactly when nothing in it changed."""
    return digest_json(part_values(spec, part))


def part_digests(spec: ModelSpec) -> dict[PartName, Digest]:
    """Digests of all parts in one pass."""
    return {part: digest_json(values) for part, values in _by_part(spec).items()}


def spec_digest(spec: ModelSpec) -> Digest:
    """Digest of the whole specification, words included; comments and layout do not show in it."""
    return digest_json([part_digests(spec)[part] for part in PART_NAMES])


def _by_part(spec: ModelSpec) -> dict[PartName, dict[str, Any]]:
    found: dict[PartName, dict[str, Any]] = {part: {} for part in PART_NAMES}
    rollout = spec.release.rollout
    decides = rollout is not None and rollout.experiment is not None
    for path, value in flatten(spec):
        owner, name = _longest(path), dotted(path)
        found[owner][name] = value
        if decides and _begins(path, ("release", "experiment")):  # what decides a rollout is signed with it
            found["approve"][name] = value
        for part, patterns in READ_AGAIN.items():
            if owner != "words" and any(_begins(path, pattern) for pattern in patterns):
                found[part][name] = value
    return found


def flatten(spec: ModelSpec) -> Iterator[tuple[Path, Any]]:
    """Yield every value with its path; lists are one value; the order of a mapping where it matters is one, too."""
    yield from _flatten(spec.model_dump(mode="json"), ())


def _flatten(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict):
        if ordered(path) and value:
            yield path, list(value)
        for key, entry in value.items():
            yield from _flatten(entry, (*path, key))
    elif value is not None:
        yield path, value


def ordered(path: Path) -> bool:
    """Whether the order of the mapping at ``path`` matters."""
    return any(len(pattern) == len(path) and _begins(path, pattern) for pattern in _ORDERED)


def dotted(path: Path) -> str:
    """Path as people write it; keys that are no plain words stand in quotes.

    Examples
    --------
    >>> dotted(("data", "sources", "a", "columns", "default.next", "type"))
    'data.sources.a.columns."default.next".type'
    """
    return ".".join(str(key) if _PLAIN.fullmatch(str(key)) else f'"{key}"' for key in path)
