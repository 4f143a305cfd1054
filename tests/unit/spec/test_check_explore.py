"""Exploration must be possible, seen, and give reasons to whom they are due."""

from __future__ import annotations

import pytest
from test_check_store import ENTITIES, ROWS, declare

from charter.spec.loader import loads
from charter.spec.parts import part_digest, part_of


def explore(text: str, declared: str) -> list[tuple[str, str]]:
    """Faults of a specification whose serving explores."""
    return declare(
        text, f"{{}}\n  explore: {declared}" if "\nserve:\n" in text else f"{{}}, explore: {declared}"
    )


@pytest.mark.parametrize(
    "declared", ["{share: 0.02}", "{share: 0.1, within: 0.2, turn: positive}", "{share: 0.02, unit: branch}"]
)
def test_exploration_that_fits(declared: str) -> None:
    assert explore(ROWS, declared) == []


@pytest.mark.parametrize(
    ("declared", "path", "message"),
    [
        ("{share: 0}", "serve.explore.share", "must be greater than 0"),
        ("{share: 0.5}", "serve.explore.share", "must be less than 0.5"),
        ("{share: 0.1, turn: all}", "serve.explore.turn", "all"),
        ("{share: 0.1, unit: nobody}", "serve.explore.unit", "is not a column"),
        ("{share: 0.1}\n  log: {mode: none}", "serve.explore", "teaches nothing"),
        ("{share: 0.1}\n  reasons_for: flagged", "serve.explore.turn", "would get no reasons"),
    ],
)
def test_exploration_that_does_not_fit_is_told(declared: str, path: str, message: str) -> None:
    found = explore(ROWS, declared)
    assert any(where == path and message in what for where, what in found), found


def test_exploration_is_approved_with_the_package_and_nothing_changes_without_it() -> None:
    assert part_of(("serve", "explore", "share")) == "serve"
    spec = loads(ENTITIES).spec
    assert part_digest(spec, "serve") == part_digest(spec.model_copy(), "serve")
