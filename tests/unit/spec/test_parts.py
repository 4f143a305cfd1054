from __future__ import annotations

from pathlib import Path

import pytest

from charter.core.quantity import Requirement
from charter.spec.diff import FIRST_STAGE, STAGES, diff, invalidates, parts_touched
from charter.spec.loader import loads
from charter.spec.parts import (
    PART_NAMES,
    PARTS,
    flatten,
    part_digest,
    part_digests,
    part_of,
    part_values,
    spec_digest,
)
from charter.spec.shape import ANY, leaves, model_at

SAMPLES = Path(__file__).parent / "samples"
ROWS = (SAMPLES / "rows.yaml").read_text("utf-8")
ENTITIES = (SAMPLES / "entities.yaml").read_text("utf-8")


def test_each_field_of_the_language_has_exactly_one_part() -> None:
    for leaf in leaves():
        assert part_of(leaf) in PART_NAMES, leaf
    assert len(set(leaves())) == len(list(leaves()))


def test_each_pattern_names_something_that_exists() -> None:
    everything = set(leaves())
    for pattern in PARTS:
        assert any(leaf[: len(pattern)] == pattern for leaf in everything), pattern
        assert ANY not in pattern[-1:], pattern


def test_each_value_of_a_specification_stands_in_its_part() -> None:
    for text in (ROWS, ENTITIES):
        spec = loads(text).spec
        together = {name for part in PART_NAMES for name in part_values(spec, part)}
        assert len(together) == len(list(flatten(spec)))
        assert part_digests(spec) == {part: part_digest(spec, part) for part in PART_NAMES}


def test_a_default_written_out_and_comments_change_no_digest() -> None:
    spec = loads(ROWS).spec
    written = loads(ROWS.replace("  seed: 3\n", "  # as ever\n  seed: 3\n  imbalance: none\n")).spec
    assert part_digests(spec) == part_digests(written)
    assert spec_digest(spec) == spec_digest(written)
    assert diff(spec, written) == []


CASES = [
    (ROWS, "summary: Probability", "summary: Chance", {"words"}, None, "changed from"),
    (ROWS, "consent: contract", "consent: law", {"words"}, None, "changed from contract to law"),
    (ROWS, "unit: EUR, min: 0", "unit: USD, min: 0", {"words"}, None, "changed from EUR to USD"),
    (ROWS, "build: 10000", "build: 9000", {"words"}, None, "lowered from 10000 to 9000"),
    (
        ROWS,
        "max: 50000}",
        "max: 60000}",
        {"data", "features", "train"},
        "snapshot",
        "raised from 50000 to 60000",
    ),
    (ROWS, "loans.csv", "loans2.csv", {"data"}, "snapshot", "changed from loans.csv to loans2.csv"),
    (
        ROWS,
        "amount / 24",
        "amount / 12",
        {"data", "features", "train"},
        "snapshot",
        "changed from amount / 24 to amount / 12",
    ),
    (ROWS, "known_after: 90d", "known_after: 60d", {"features"}, "features", "changed from 90d to 60d"),
    (ROWS, "> 0.4", "> 0.5", {"features"}, "features", "features.rows.heavy changed"),
    (ROWS, "exclude: [gender]", "exclude: [gender, branch]", {"features"}, "features", "gained branch"),
    (ROWS, "seed: 3", "seed: 4", {"features", "train"}, "features", "raised from 3 to 4"),
    (ROWS, "trials: 5", "trials: 6", {"train"}, "train", "raised from 5 to 6"),
    (ROWS, "[logistic_regression, lightgbm]", "[lightgbm]", {"train"}, "train", "lost logistic_regression"),
    (
        ROWS,
        "[logistic_regression, lightgbm]",
        "[lightgbm, logistic_regression]",
        {"train"},
        "train",
        "changed its order",
    ),
    (
        ROWS,
        'rule: "income < 1500", score',
        'rule: "income < 1400", score',
        {"evaluate"},
        "evaluate",
        "changed from",
    ),
    (ROWS, "true_positive: 100", "true_positive: 120", {"evaluate"}, "evaluate", "raised from 100 to 120"),
    (ROWS, "run_per_month: 1000", "run_per_month: 900", {"evaluate"}, "evaluate", "lowered"),
    (ROWS, "maximise: net_value", "maximise: f1", {"evaluate"}, "evaluate", "changed from net_value to f1"),
    (ROWS, 'roc_auc: ">= 0.7"', 'roc_auc: ">= 0.6"', {"gate"}, "gate", "relaxed from >= 0.7 to >= 0.6"),
    (
        ROWS,
        'difference: "<= 0.1"',
        'difference: "<= 0.05"',
        {"gate"},
        "gate",
        "tightened from <= 0.1 to <= 0.05",
    ),
    (
        ROWS,
        'recall, require: ">= 0.5"',
        'recall, require: "> 0.5"',
        {"gate"},
        "gate",
        "tightened from >= 0.5 to > 0.5",
    ),
    (ROWS, "\nserve:", "\nbudget: {memory_mb: 9}\nserve:", {"gate"}, "gate", "budget.memory_mb added: 9"),
    (
        ROWS,
        '  complaints: {source: external, require: "<= 10", per: month}\n',
        "",
        {"gate"},
        "gate",
        "complaints removed",
    ),
    (ROWS, "reasons: 3", "reasons: 2", {"evaluate", "serve"}, "evaluate", "lowered from 3 to 2"),
    (ROWS, "name: loan-default", "name: loans", {"serve"}, "package", "changed from loan-default to loans"),
    (ROWS, "valid_for: 30d", "valid_for: 60d", {"approve"}, "approve", "changed from 30d to 60d"),
    (ENTITIES, "over: 30d", "over: 60d", {"features"}, "features", "changed from 30d to 60d"),
    (
        ENTITIES,
        "test_from: 2020-10-01",
        "test_from: 2020-11-01",
        {"features"},
        "features",
        "changed from 2020-10-01",
    ),
    (ENTITIES, "2020-10-01}", "2020-10-01, folds: 4}", {"features", "train"}, "train", "lowered from 5 to 4"),
    (ENTITIES, "default: 0", "default: 1", {"features"}, "features", "raised from 0 to 1"),
]


@pytest.mark.parametrize(("text", "old", "new", "parts", "stage", "words"), CASES)
def test_a_change_is_named_and_touches_its_parts_alone(
    text: str, old: str, new: str, parts: set[str], stage: str | None, words: str
) -> None:
    assert text.count(old) == 1
    before, after = loads(text).spec, loads(text.replace(old, new)).spec
    changes = diff(before, after)
    assert len(changes) == 1
    assert words in changes[0].words
    assert {part for part in PART_NAMES if part_digest(before, part) != part_digest(after, part)} == parts
    assert parts_touched(changes) == parts
    assert invalidates(changes) == (STAGES[STAGES.index(stage) :] if stage is not None else ())
    assert changes[0].stage == stage
    assert spec_digest(before) != spec_digest(after)
    assert changes[0].to_json()["words"] == changes[0].words
    assert part_digests(loads(text.replace(old, new)).spec) == part_digests(after)


def test_the_order_of_the_models_inputs_matters_and_that_of_requirements_does_not() -> None:
    spec = loads(ROWS).spec
    other = loads(
        ROWS.replace('{roc_auc: ">= 0.7", net_value: "> 0"}', '{net_value: "> 0", roc_auc: ">= 0.7"}')
    ).spec
    assert diff(spec, other) == []
    assert part_digests(spec) == part_digests(other)
    lines = '    burden: "per_month / NULLIF(income, 0)"\n    heavy: "burden > 0.4"\n'
    swapped = loads(ROWS.replace(lines, "".join(reversed(lines.splitlines(keepends=True))))).spec
    (change,) = diff(spec, swapped)
    assert change.words == "the order of features.rows changed"
    assert part_digest(spec, "features") != part_digest(swapped, "features")


def test_a_whole_entry_is_one_change_of_its_earliest_part() -> None:
    new = "        branch: {type: integer}\n        town: {type: text, description: a place}\n"
    before = loads(ROWS).spec
    after = loads(ROWS.replace("        branch: {type: integer}\n", new)).spec
    changes = diff(before, after)
    assert [c.where for c in changes] == ["data.sources.loans.columns.town"]
    assert changes[0].part == "data"
    assert changes[0].words == "data.sources.loans.columns.town added"
    (back,) = diff(after, before)
    assert back.words == "data.sources.loans.columns.town removed"


def test_a_value_block_that_is_added_counts_as_what_is_measured() -> None:
    added = "value: {currency: EUR, volume: 5 per day, per_decision: {true_positive: 1, false_positive: -1,"
    added += " false_negative: 0, true_negative: 0}}\nserve: {fallback"
    (change,) = diff(loads(ENTITIES).spec, loads(ENTITIES.replace("serve: {fallback", added)).spec)
    assert (change.where, change.part) == ("value", "evaluate")


def test_each_part_but_words_has_a_first_stage() -> None:
    assert set(FIRST_STAGE) == set(PART_NAMES)
    assert [part for part in PART_NAMES if FIRST_STAGE[part] is None] == ["words"]
    assert Requirement.parse(">= 1").met_by(1)


def test_types_are_walked_as_files_are() -> None:
    assert model_at(()) is not None
    assert model_at(("data", "sources", "x", "columns", "y")) is not None
    assert model_at(("approve", "stages", 0)) is not None
    assert model_at(("train", "learners")) is None
    assert model_at(("nowhere",)) is None
