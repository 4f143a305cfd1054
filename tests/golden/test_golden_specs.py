"""Wrong specifications: every fault at its place, with what to write instead (exit 2)."""

from __future__ import annotations

import pytest
from golden_support import Bench

SPLIT = "split: {kind: random, stratify: true, test: 0.3, folds: 2}"
INCOME = "income: {type: float, unit: EUR, min: 0, max: 100000}"
BURDEN = 'burden: "debt / (income + 1)"'
REQUIRE = 'require: {roc_auc: ">= 0.6"}'
FOUND = 'found: {metric: recall, require: ">= 0.2"}'

ONE_EDIT = {
    "unknown-key": ("summary: Prob", "sumary: Prob"),
    "key-at-the-wrong-place": ("  seed: 7", "  seed: 7\n  folds: 5"),
    "wrong-type": ("seed: 7", "seed: many"),
    "number-in-quotes": ("trials: 1", 'trials: "1"'),
    "text-without-quotes": ("contact: billing@example.org", "contact: 5"),
    "list-for-a-mapping": ("owner: {team: Billing, contact: billing@example.org}", "owner: [Billing]"),
    "empty-value": ("summary: Probability that a customer misses the next bill", "summary:"),
    "not-a-number": ("max: 100000", "max: .nan"),
    "min-above-max": (INCOME, "income: {type: float, min: 100000, max: 0}"),
    "unknown-type": ("type: float, unit: EUR, nullable", "type: flot, unit: EUR, nullable"),
    "unknown-column-in-a-feature": (BURDEN, 'burden: "debts / (income + 1)"'),
    "label-in-a-feature": (BURDEN, 'burden: "debt * CAST(missed AS DOUBLE)"'),
    "column-derived-from-the-label": (
        "      time: billed_at",
        "      time: billed_at\n      derive: {paid: \"missed = '0'\"}",
    ),
    "cyclic-features": (BURDEN, 'burden: "load + 1"\n    load: "debt + ease"\n    ease: "burden * 2"'),
    "expression-cut-off": (BURDEN, 'burden: "debt / (income + "'),
    "python-in-an-expression": (BURDEN, "burden: \"__import__('os').system('id')\""),
    "unknown-function": (BURDEN, 'burden: "LOGG(debt)"'),
    "category-compared-with-a-number": (BURDEN, 'burden: "CASE WHEN region = 1 THEN debt ELSE 0 END"'),
    "unknown-metric": (REQUIRE, 'require: {roc_auk: ">= 0.6"}'),
    "metric-of-another-task": (REQUIRE, 'require: {root_mean_squared_error: "<= 3"}'),
    "requirement-that-cannot-be-met": (REQUIRE, 'require: {roc_auc: ">= 1.2"}'),
    "requirement-without-an-operator": (REQUIRE, "require: {roc_auc: 0.6}"),
    "unknown-learner": ("learners: [logistic_regression]", "learners: [logistic_regresion]"),
    "time-split-without-dates": (SPLIT, "split: {kind: time}"),
    "test-before-the-labels-are-known": (
        SPLIT,
        "split: {kind: time, train_until: 2024-06-30, test_from: 2024-07-15}",
    ),
    "fairness-by-an-unprotected-column": ("fairness: {by: [sex]", "fairness: {by: [region]"),
    "kpi-without-a-metric": (FOUND, 'found: {require: ">= 0.2"}'),
    "threshold-that-moves-nothing": ("threshold: {maximise: f1}", "threshold: {maximise: roc_auc}"),
    "positive-that-is-no-category": ("positive: 1,", "positive: 2,"),
    "key-that-is-no-column": ("key: [id]\n      columns", "key: [ident]\n      columns"),
    "two-origins": ("uri: bills.csv", "uri: bills.csv\n      dataset: taiwan-default"),
    "query-without-an-address": ("uri: bills.csv", "sql: SELECT * FROM bills"),
    "stage-that-stands-twice": ("stage: governance", "stage: technical"),
    "bands-in-the-wrong-order": ("  reasons: 2", "  reasons: 2\n  bands: {low: 0, high: 0.7}"),
    "monotone-text": ("  seed: 7", "  seed: 7\n  monotone: {region: increasing}"),
    "unknown-word": ("learners: [log", "imbalance: smotee\n  learners: [log"),
    "bad-duration": ("valid_for: 90d", "valid_for: three months"),
    "doubled-key": ("  seed: 7", "  seed: 7\n  seed: 8"),
    "yaml-tag": ("summary: Prob", "summary: !!python/object/apply:os.system [id] # Prob"),
    "yaml-tab": ("  seed: 7", "\tseed: 7"),
    "yaml-open-bracket": ("learners: [logistic_regression]", "learners: [logistic_regression"),
    "two-documents": ("approve:\n", "---\napprove:\n"),
    "unknown-blueprint-of-policies": (
        "approve:\n  stages:\n    - {stage: technical, role: ml-engineer}\n"
        "    - {stage: governance, role: risk-officer}\n  valid_for: 90d",
        "approve: seven-stage",
    ),
    "date-that-is-none": (SPLIT, "split: {kind: time, train_until: 2024-02-30, test_from: 2024-07-15}"),
}


@pytest.mark.parametrize("name", ONE_EDIT)
def test_one_wrong_word_is_found_at_its_place(name: str, fresh: Bench) -> None:
    fresh.edit(*ONE_EDIT[name])
    fresh.refused(f"spec-{name}", 2, "check")


def test_every_fault_is_told_at_once_in_the_order_of_the_file(fresh: Bench) -> None:
    for name in ("unknown-column-in-a-feature", "unknown-metric", "min-above-max", "wrong-type"):
        fresh.edit(*ONE_EDIT[name])
    ran = fresh.refused("spec-many-faults", 2, "check")
    lines = [int(line.split(":")[1]) for line in ran.err.splitlines() if line.startswith("model.yaml:")]
    assert len(lines) == 4
    assert lines == sorted(lines)


WHOLE_FILE = {
    "empty-file": b"",
    "only-a-comment": b"# nothing yet\n",
    "a-list": b"- name: late-bills\n",
    "binary-file": bytes(range(256)) * 8,
    "a-parquet-file": b"PAR1\x15\x04\x15\x80\x01PAR1",
    "not-utf-8": "name: caf\u00e9\n".encode("latin-1"),
    "too-large": b"# " + b"x" * 1_100_000 + b"\nname: late-bills\n",
    "nested-too-deeply": b"name: " + b"[" * 3000 + b"]" * 3000 + b"\n",
    "anchor-bomb": b"a: &a [x, x, x, x, x, x, x, x, x]\n"
    + b"".join(
        f"{n}: &{n} [{', '.join([f'*{p}'] * 9)}]\n".encode()
        for p, n in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "anchor-of-itself": b"name: &n [*n]\n",
}


@pytest.mark.parametrize("name", WHOLE_FILE)
def test_what_is_no_specification_is_refused_at_once(name: str, fresh: Bench) -> None:
    fresh.spec.write_bytes(WHOLE_FILE[name])
    fresh.refused(f"spec-{name}", 2, "check")


def test_every_command_refuses_a_wrong_specification_in_the_same_words(bench: Bench) -> None:
    bench.edit(*ONE_EDIT["unknown-key"])
    told = {
        bench.run(*command).err.replace("./", "")
        for command in (["check"], ["assess"], ["plan"], ["apply"], ["status"], ["history"], ["show", "v1"])
    }
    assert len(told) == 1
    with bench.unchanged():
        assert bench.run("apply").code == 2


def test_a_wrong_specification_is_told_to_machines_as_json(fresh: Bench) -> None:
    fresh.edit(*ONE_EDIT["unknown-key"])
    fresh.refused("spec-as-json", 2, "check", "--json")


def test_diff_names_the_file_that_is_wrong(fresh: Bench) -> None:
    (fresh.root / "other.yaml").write_text(fresh.spec.read_text().replace("seed: 7", "seed: -7"))
    fresh.refused("spec-diff", 2, "diff", "model.yaml", "other.yaml")
