"""What a sound specification leaves open or passes over is named, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.govern.card_sections import unwritten, written
from charter.spec.loader import loads
from charter.spec.notices import notices, shown

ROWS = (Path(__file__).parent / "samples" / "rows.yaml").read_text("utf-8")
BRANCH = "        branch: {type: integer}"


def told(text: str) -> list[str]:
    return [shown(n) for n in notices(loads(text).spec)]


def test_a_whole_specification_has_none() -> None:
    assert told(ROWS) == []


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("note: {type: text}", "columns.note is text, which gives no feature by itself: encode it"),
        ("due: {type: date}", "EXTRACT(ISODOW FROM due)"),
        ("due: {type: datetime}", "EXTRACT(HOUR FROM due)"),
        ('"paid on": {type: date}', 'EXTRACT(MONTH FROM "paid on")'),
        ("age: {type: integer, sensitivity: protected}", "columns.age is protected, and the model sees it"),
    ],
)
def test_a_column_that_is_passed_over_or_ought_to_be_is_named(column: str, words: str) -> None:
    (found,) = told(ROWS.replace(BRANCH, f"{BRANCH}\n        {column}"))
    assert words in found


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("exclude: [gender]", "exclude: [gender, due]"),
        ('heavy: "burden > 0.4"', 'due_month: "EXTRACT(MONTH FROM due)"'),
        ('heavy: "burden > 0.4"', 'due_age: "EXTRACT(EPOCH FROM due) - EXTRACT(EPOCH FROM applied_at)"'),
    ],
)
def test_what_is_suggested_ends_the_notice(before: str, after: str) -> None:
    with_due = ROWS.replace(BRANCH, f"{BRANCH}\n        due: {{type: date}}")
    assert len(told(with_due)) == 1
    assert told(with_due.replace(before, after)) == []


def test_an_encoded_text_is_a_feature() -> None:
    text = ROWS.replace(BRANCH, f"{BRANCH}\n        note: {{type: text}}")
    assert told(text.replace("{region: one_hot}", "{region: one_hot, note: hashing}")) == []


def test_what_is_to_be_written_is_named_and_columns_once() -> None:
    text = ROWS.replace("Losses on small loans grow.", '"To be written: what goes wrong today?"')
    text = text.replace("[loan officers]", '["To be written: who acts on it?"]')
    for name in ("branch", "id"):
        text = text.replace(
            f"        {name}: {{type: integer",
            f'        {name}: {{description: "To be written", type: integer',
        )
    assert sorted(told(text)) == [
        "data.sources.loans.columns is to be written, the description of 2: id, branch",
        "purpose.problem is to be written: what goes wrong today?",
        "purpose.users is to be written: who acts on it?",
    ]


def test_a_section_of_the_card_with_a_drafts_question_counts_as_missing() -> None:
    spec = loads(
        f'{ROWS}\ncard: {{intended_use: ["To be written: what for?"], required: [intended_use]}}\n'
    ).spec
    assert not written(spec, "intended_use")
    assert "intended_use" in unwritten(spec)
