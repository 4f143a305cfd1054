from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from charter.core.errors import SpecError
from charter.spec.diff import diff, parts_touched
from charter.spec.expand import expand
from charter.spec.loader import loads
from charter.spec.parts import PART_NAMES, part_digests
from charter.spec.types import ModelSpec

SAMPLES = Path(__file__).parents[1] / "unit" / "spec" / "samples"
TEXTS = [(SAMPLES / name).read_text("utf-8") for name in ("rows.yaml", "entities.yaml")]
YAML_SIGNS = st.sampled_from(
    [*":-[]{},&*!|>'\"%@`#?~\t\n ", "\n  ", ": ", "<<: *a", "&a ", "*a", "null", "true", "1e3", "\ud800"]
)
WORDS = [
    "1",
    "-1",
    "x",
    "true",
    "null",
    "[]",
    "{}",
    "[1, 2]",
    "{a: 1}",
    '">= 0"',
    "2020-01-01",
    "30d",
    "''",
    "1e400",
    "no",
]


def load_or_refuse(text: str) -> ModelSpec | None:
    """The specification, or None after a refusal that points into the text."""
    try:
        return loads(text).spec
    except SpecError as refusal:
        caught = refusal
    assert caught.problems
    lines = max(len(caught.lines), 1)
    for problem in caught.problems:
        assert 1 <= problem.line <= lines
        assert problem.column >= 1
        assert problem.width >= 1
    places = [(p.line, p.column) for p in caught.problems]
    assert places == sorted(places)
    return None


@given(
    st.one_of(
        st.text(max_size=200), st.lists(st.one_of(YAML_SIGNS, st.text(max_size=4)), max_size=40).map("".join)
    )
)
def test_any_text_is_refused_with_a_place_and_never_crashes(text: str) -> None:
    assert load_or_refuse(text) is None


@given(st.sampled_from(TEXTS), st.randoms(use_true_random=False), st.integers(1, 4))
def test_a_damaged_specification_is_refused_or_loaded_and_never_crashes(
    text: str, chance: random.Random, count: int
) -> None:
    for _ in range(count):
        at = chance.randrange(len(text))
        match chance.randrange(4):
            case 0:
                text = text[:at] + text[at + chance.randrange(1, 12) :]
            case 1:
                text = text[:at] + chance.choice(":-[]{},&*!|'\"#\n xé") + text[at:]
            case 2:
                lines = text.splitlines(keepends=True)
                del lines[chance.randrange(len(lines))]
                text = "".join(lines)
            case _:
                start = text.find(": ", at)
                stop = min(
                    (i for i in (text.find(sign, start + 2) for sign in ",}\n]") if i > 0), default=len(text)
                )
                text = text[: start + 2] + chance.choice(WORDS) + text[stop:] if start > 0 else text
        if not text:
            return
    load_or_refuse(text)


@given(st.sampled_from(TEXTS), st.randoms(use_true_random=False))
def test_parts_change_exactly_where_the_difference_says(text: str, chance: random.Random) -> None:
    before = loads(text).spec
    assert loads(expand(before)).spec == before
    lines = text.splitlines(keepends=True)
    for _ in range(20):  # most damage is refused; look for some that is another specification
        changed = list(lines)
        i = chance.randrange(len(changed))
        line = changed[i]
        digits = [at for at, sign in enumerate(line) if sign.isdigit()]
        if not digits:
            continue
        at = chance.choice(digits)
        changed[i] = f"{line[:at]}{chance.randrange(10)}{line[at + 1 :]}"
        after = load_or_refuse("".join(changed))
        if after is not None:
            a, b = part_digests(before), part_digests(after)
            assert {part for part in PART_NAMES if a[part] != b[part]} == parts_touched(diff(before, after))
            return
