from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from charter.core.errors import SpecError, UsageError
from charter.spec.loader import kept, load, loads
from charter.spec.types import SIX_STAGES

SAMPLES = Path(__file__).parent / "samples"
ROWS = (SAMPLES / "rows.yaml").read_text("utf-8")


def problems(text: str) -> list[tuple[str, str, str, str]]:
    """Dotted path, message, underlined text and hint of every problem."""
    with pytest.raises(SpecError) as caught:
        loads(text)
    lines = text.splitlines()
    return [
        (
            ".".join(str(key) for key in p.path),
            p.message,
            lines[p.line - 1][p.column - 1 : p.column - 1 + p.width],
            p.hint,
        )
        for p in caught.value.problems
    ]


def changed(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert text.count(old) == 1, (old, text.count(old))
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize("name", ["rows.yaml", "entities.yaml"])
def test_the_samples_are_sound(name: str) -> None:
    loaded = load(SAMPLES / name)
    assert loaded.spec.train.task == "binary"
    assert loaded.source.where(("train", "task")).startswith(str(SAMPLES / name))


def test_what_another_version_kept_is_refused_by_its_field() -> None:
    spec = load(SAMPLES / "rows.yaml").spec
    text = spec.model_dump_json()
    assert kept(text) == spec
    with pytest.raises(UsageError, match=r"train\.colour: Extra inputs are not permitted"):
        kept(text.replace('"train":{', '"train":{"colour":1,', 1))


def test_the_blueprints_are_sound(root: Path) -> None:
    for path in (root / "src" / "charter" / "blueprints").glob("*/model.yaml"):
        load(path)


def test_categories_are_text_however_they_are_written() -> None:
    column = loads(ROWS).spec.data.sources["loans"].columns["region"]
    assert column.values == ("north", "NO", "on", "1")


def test_defaults_hold_where_the_file_is_silent() -> None:
    spec = load(SAMPLES / "entities.yaml").spec
    assert spec.approve.stages == SIX_STAGES
    assert spec.train.split.folds == 5
    assert spec.value is None


@pytest.mark.parametrize(
    ("old", "new", "path", "message", "underlined", "hint"),
    [
        ("summary: Prob", "sumary: Prob", "sumary", "is not a key of a", "sumary", "did you mean summary?"),
        ("seed: 3", "sede: 3", "train.sede", "is not a key of train", "sede", "did you mean seed?"),
        ("seed: 3", "seed: three", "train.seed", "must be a whole number, not 'three'", "three", "for example 5"),
        ("seed: 3", "seed: '3'", "train.seed", "must be a whole number, not '3'", "'3'", "without quotes: 3"),
        ("seed: 3", "seed: -1", "train.seed", "must be at least 0, not -1", "-1", ""),
        ("seed: 3", "seed: 1.5", "train.seed", "must be a whole number, not 1.5", "1.5", "for example 5"),
        ("trials: 5", "trials: true", "train.search.trials", "must be a whole number, not true", "true", ""),
        ("unique: true", "unique: yes", "data.sources.loans.columns.id.unique", "true or false, not 'yes'", "yes", ""),
        ("min: 100,", "min: low,", "data.sources.loans.columns.amount.min", "a number or a date, not 'low'", "low", ""),
        ("2020-10-01", "2020-13-01", "train.split.test_from", "must be a date", "2020-13-01", "2011-03-01"),
        ("trials: 5", "trials: ~", "train.search.trials", "is empty; it must be a whole number", "trials", "leave"),
        ("task: binary", "task: binry", "train.task", "is 'binry', which is not", "binry", "did you mean binary?"),
        ("kind: time", "kind: tim", "train.split.kind", "is 'tim', which is not allowed", "tim", "did you mean time?"),
        ("team: Lending, ", "", "owner.contact", "", "", ""),
        ("users: [loan officers]", "users: []", "purpose.users", "must not be empty", "users", ""),
        ("users: [loan officers]", "users: loan officers", "purpose.users", "must be a list, not 'loan officers'",
         "loan officers", "write [loan officers]"),
        ("reasons: 3", "reasons: [3]", "serve.reasons", "must be a whole number, not a list", "reasons", ""),
        ("name: loan-default", "name: Loan Default", "name", "which is not lower-case words", "Loan Default", ""),
        ("currency: EUR", "currency: euro", "value.currency", "is not a currency", "euro", "EUR"),
        ('">= 0.7"', '"0.7"', "evaluate.require.roc_auc", "'0.7' is not a requirement", '"0.7"', "'>= 0.76'"),
        ("known_after: 90d", "known_after: 90 days", "data.label.known_after", "is not a duration", "90 days", "30d"),
        ("1000 per month", "1000", "value.volume", "must be text, not 1000", "1000", '"1000"'),
        ("1000 per month", "1000 a month", "value.volume", "is not a volume", "1000 a month", "30000 per month"),
        ("approve:\n", "approve: six\nbudget:\n", "approve", "is 'six'", "six", "it must be six-stage, none"),
        ("{source: external, require", "{require", "kpis.complaints", "needs either 'metric'", "complaints", ""),
        ("uri: loans.csv", "uri: loans.csv\n      dataset: x", "data.sources.loans", "exactly one origin", "loans", ""),
        ("references: branches.id", "references: branches", "data.sources.loans.foreign_keys.0.references",
         "is not source.column", "branches", "customers.id"),
        ("repaid.fully: {type", "'': {type", "data.sources.loans.columns.", "1 to 128", "''", ""),
        ("defaults_found:", "defaults found:", "kpis.defaults found", "not a plain word", "defaults found", ""),
        ("evaluate:\n", "seed: 3\nevaluate:\n", "seed", "is not a key of a", "seed", "it belongs at train.seed"),
    ],
)  # fmt: skip
def test_a_malformed_word_is_named_shown_and_answered(
    old: str, new: str, path: str, message: str, underlined: str, hint: str
) -> None:
    found = problems(changed(ROWS, (old, new)))
    if not message:
        assert found == [("owner.team", "is missing", "owner", "")]
        return
    mine = [p for p in found if p[0] == path]
    assert mine, found
    assert message in mine[0][1]
    assert mine[0][2] == underlined
    assert hint in mine[0][3]


def test_a_missing_choice_names_the_choices() -> None:
    (found,) = problems(changed(ROWS, ("  task: binary\n", "")))
    assert found[0] == "train.task"
    assert found[3] == "one of binary, multiclass, regression, forecast"


def test_every_fault_is_told_at_once_in_the_order_of_the_file() -> None:
    text = changed(
        ROWS,
        ("team: Lending", "team: 5"),
        ('income < 1500", score', 'incom < 1500", score'),
        ("min: 100, max: 50000", "min: 100, max: 10"),
        ("learners: [logistic_regression", "learners: [logistic"),
        ("require: {roc_auc", "require: {roc_auk"),
        ("folds", "folds") if "folds" in ROWS else ("seed: 3", "seed: 3\n  sede: 3"),
    )
    found = problems(text)
    assert [p[0] for p in found] == [
        "owner.team",
        "purpose.today.rule",
        "data.sources.loans.columns.amount.min",
        "train.learners.0",
        "train.sede",
        "evaluate.require.roc_auk",
    ]
    with pytest.raises(SpecError) as caught:
        loads(text, "model.yaml")
    shown = str(caught.value).splitlines()
    assert shown[0] == "model.yaml:5:15  owner.team must be text, not 5"
    assert shown[-1] == "6 errors"
    assert "did you mean income?" in str(caught.value)


def test_a_mistyped_key_does_not_make_its_contents_unknown() -> None:
    """`derive` mistyped: the derived column is still there for the feature that uses it."""
    found = problems(changed(ROWS, ("derive:\n", "derives:\n"), ("per_month / NULLIF", "per_mont / NULLIF")))
    assert [(p[0], p[2]) for p in found] == [
        ("data.sources.loans.derives", "derives"),
        ("features.rows.burden", "per_mont"),
    ]


def test_faults_below_a_mistyped_key_are_shown_under_the_name_in_the_file() -> None:
    found = problems(changed(ROWS, ("derive:\n", "derives:\n"), ('"amount / 24"', '"amont / 24"')))
    assert [(p[0], p[2]) for p in found] == [
        ("data.sources.loans.derives", "derives"),
        ("data.sources.loans.derives.per_month", "amont"),
    ]


def test_names_are_not_unknown_only_because_their_column_is_malformed() -> None:
    found = problems(changed(ROWS, ("income: {type: float, unit: EUR, min: 0,", "income: {typ: 3, min: 0,")))
    assert {p[0] for p in found} == {"data.sources.loans.columns.income.typ"}


def test_a_key_that_stands_twice_is_told_with_the_rest() -> None:
    found = problems(
        changed(ROWS, ("  seed: 3\n", "  seed: 3\n  seed: 4\n"), ('roc_auc: ">=', 'roc_auk: ">='))
    )
    assert [p[0] for p in found] == ["train.seed", "evaluate.require.roc_auk"]
    assert found[0][1].startswith("stands twice")


def test_a_file_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file") as caught:
        load(tmp_path / "model.yaml")
    assert caught.value.remedy is not None
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path)


def test_a_file_that_is_no_text_or_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_bytes(b"name: x\nsummary: \xff\n")
    with pytest.raises(SpecError, match="not UTF-8") as caught:
        load(path)
    assert caught.value.problems[0].line == 2
    path.write_bytes(b"x" * 2_000_000)
    with pytest.raises(SpecError, match="larger than 1 MB"):
        load(path)


def test_loading_needs_no_numerical_library_and_reads_no_source_of_its_own() -> None:
    program = (
        "import sys; from pathlib import Path; from charter.spec.loader import load;"
        f"load(Path({str(SAMPLES / 'rows.yaml')!r}));"
        "print([m for m in ('polars','numpy','sqlglot','yaml.constructor_','rich') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_long_line_is_cut_to_what_surrounds_the_fault() -> None:
    long = "summary: " + "a b " * 60 + ' "x'
    with pytest.raises(SpecError) as caught:
        loads(
            changed(ROWS, ("summary: Probability that a loan is not repaid", f"{long}\nsumary: {'y ' * 90}"))
        )
    shown = str(caught.value).splitlines()
    assert all(len(line) < 200 for line in shown)
    assert shown[1].endswith("...")
    wide = "{" + ", ".join(f"factor_{i}: x" for i in range(40)) + "}"
    with pytest.raises(SpecError) as caught:
        loads(changed(ROWS, ("factors: {burden: instalment against income}", f"factors: {wide}")))
    lines = str(caught.value).splitlines()
    for text, pointer in zip(lines[1::3], lines[2::3], strict=False):
        start = pointer.index("^")
        assert text[start : start + pointer.count("^")].startswith("factor_")
