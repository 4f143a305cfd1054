"""The feature store that a specification declares must fit the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.core.errors import SpecError
from charter.spec.loader import loads
from charter.spec.parts import part_of

SAMPLES = Path(__file__).parent / "samples"
ENTITIES = (SAMPLES / "entities.yaml").read_text("utf-8")
ROWS = (SAMPLES / "rows.yaml").read_text("utf-8")


def declare(text: str, store: str) -> list[tuple[str, str]]:
    at_serve = text.index("\nserve:")
    lines = text[at_serve + 1 :].splitlines()
    if lines[0].startswith("serve: {"):
        lines[0] = lines[0].replace("serve: {", f"serve: {{features: {store}, ", 1)
    else:
        lines.insert(1, f"  features: {store}")
    try:
        loads(text[: at_serve + 1] + "\n".join(lines) + "\n")
    except SpecError as error:
        return [(".".join(map(str, p.path)), p.message) for p in error.problems]
    return []


@pytest.mark.parametrize(
    "store",
    [
        "{}",
        "{store: sqlite}",
        "{store: sqlite, url: data/features.sqlite, fresh_within: 6h}",
        '{store: redis, url: "${REDIS_URL}"}',
    ],
)
def test_a_store_that_fits(store: str) -> None:
    assert declare(ENTITIES, store) == []


@pytest.mark.parametrize(
    ("text", "store", "path", "message"),
    [
        (ENTITIES, "{store: redis}", "serve.features.store", "is redis, whose address is missing"),
        (ENTITIES, "{url: redis://x}", "serve.features.url", "features come from the history"),
        (ENTITIES, "{store: reddis}", "serve.features.store", "reddis"),
        (ENTITIES, "{store: sqlite, fresh_within: soon}", "serve.features.fresh_within", "not a duration"),
        (ROWS, "{store: sqlite}", "serve.features.store", "no windows to look up"),
    ],
)
def test_a_store_that_does_not_fit_is_told(text: str, store: str, path: str, message: str) -> None:
    found = declare(text, store)
    assert any(where == path and message in what for where, what in found), found


def test_a_store_belongs_to_serving() -> None:
    assert part_of(("serve", "features", "store")) == part_of(("serve", "features", "url")) == "serve"
