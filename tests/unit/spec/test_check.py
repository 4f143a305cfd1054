"""Faults that no data is needed to see: one change to a sound sample, one fault, at the right place."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from charter.core.errors import SpecError
from charter.spec.check import cross_check, find
from charter.spec.loader import loads
from charter.spec.types import Fallback

SAMPLES = Path(__file__).parent / "samples"
ROWS = (SAMPLES / "rows.yaml").read_text("utf-8")
ENTITIES = (SAMPLES / "entities.yaml").read_text("utf-8")
SERIES = (SAMPLES / "forecast.yaml").read_text("utf-8")

ROW_CASES = [
    # sources
    (
        'format: "%d.%m.%Y"}',
        "format: x}\n        extra: {type: text, format: x}",
        "data.sources.loans.columns.extra.format",
        "is for dates",
    ),
    (
        "branch: {type: integer}",
        "branch: {type: integer, values: [1]}",
        "data.sources.loans.columns.branch.values",
        "is for categories",
    ),
    (
        "values: [f, m, x]",
        "values: [f, m, f]",
        "data.sources.loans.columns.gender.values.2",
        "f stands twice",
    ),
    ("values: [f, m, x]", "values: []", "data.sources.loans.columns.gender.values", "allows nothing"),
    (
        "min: 100, max: 50000",
        "min: 100, max: 50",
        "data.sources.loans.columns.amount.min",
        "larger than max 50",
    ),
    ("min: 100, max", "min: 2020-01-01, max", "data.sources.loans.columns.amount.min", "must be a number"),
    (
        "{type: date, format",
        "{type: date, min: 3, format",
        "data.sources.loans.columns.applied_at.min",
        "must be a date",
    ),
    (
        "values: [f, m, x]",
        "values: [f, m, x], min: 1",
        "data.sources.loans.columns.gender.min",
        "is for numbers and dates",
    ),
    (
        "      key: [id]\n      columns:\n        id: {type: integer, u",
        "      rename: {ID: idd}\n      key: [id]\n      columns:\n        id: {type: integer, u",
        "data.sources.loans.rename.ID",
        "idd is not one of the columns",
    ),
    (
        "      key: [id]\n      columns:\n        id: {type: integer, u",
        "      rename: {A: id, B: id}\n      key: [id]\n      columns:\n        id: {type: integer, u",
        "data.sources.loans.rename.B",
        "given to two columns",
    ),
    (
        'per_month: "amount / 24"',
        'per_month: "amount / 24"\n        income: "amount"',
        "data.sources.loans.derive.income",
        "already a column",
    ),
    (
        'per_month: "amount / 24"',
        'per_month: "later / 24"\n        later: amount',
        "data.sources.loans.derive.per_month",
        "derived only further down",
    ),
    (
        'per_month: "amount / 24"',
        'per_month: "per_month / 24"',
        "data.sources.loans.derive.per_month",
        "the column itself",
    ),
    (
        'per_month: "amount / 24"',
        'per_month: "SUM(amount)"',
        "data.sources.loans.derive.per_month",
        "aggregates over rows",
    ),
    (
        "branch: {type: integer}",
        "branch: {type: integer}\n        as_of: {type: date}",
        "data.sources.loans.columns.as_of",
        "Charter's own",
    ),
    ('where: "amount IS NOT NULL"', "where: amount + 1", "data.sources.loans.where", "a condition is needed"),
    (
        'where: "amount IS NOT NULL"',
        "where: amont > 1",
        "data.sources.loans.where",
        "uses amont, which the source does not have",
    ),
    (
        'loan_is_small: "amount',
        "loan_is_small: \"amount = 'x' OR amount",
        "data.sources.loans.rules.loan_is_small",
        "is text, but amount is a number",
    ),
    (
        "uri: loans.csv\n      consent: contract\n      key: [id]",
        "uri: loans.csv\n      consent: contract\n      key: [idd]",
        "data.sources.loans.key.0",
        "idd is not a column",
    ),
    (
        "uri: loans.csv\n      consent: contract\n      key: [id]",
        "uri: loans.csv\n      consent: contract\n      key: [income]",
        "data.sources.loans.key.0",
        "is a float",
    ),
    ('where: "amount IS NOT NULL"', "time: amount", "data.sources.loans.time", "amount is not a time"),
    (
        'where: "amount IS NOT NULL"',
        "time: aplied_at",
        "data.sources.loans.time",
        "aplied_at is not a column",
    ),
    ('where: "amount IS NOT NULL"', "fresh_within: 2d", "data.sources.loans.fresh_within", "needs 'time'"),
    (
        "references: branches.id",
        "references: branchs.id",
        "data.sources.loans.foreign_keys.0.references",
        "branchs is not a source",
    ),
    (
        "references: branches.id",
        "references: branches.idd",
        "data.sources.loans.foreign_keys.0.references",
        "idd is not a column of branches",
    ),
    (
        "column: branch, ",
        "column: brunch, ",
        "data.sources.loans.foreign_keys.0.column",
        "brunch is not a column",
    ),
    (
        "column: branch, ",
        "column: region, ",
        "data.sources.loans.foreign_keys.0.references",
        "but region is text",
    ),
    # observations and label
    (
        "observations: {source: loans",
        "observations: {source: loan",
        "data.observations.source",
        "loan is not a source",
    ),
    (
        "source: loans, key: [id]",
        "source: loans, key: [ident]",
        "data.observations.key.0",
        "ident is not a column",
    ),
    ("time: applied_at}", "time: amount}", "data.observations.time", "is not a time"),
    (", time: applied_at}", "}", "train.split.kind", "observations have none"),
    ("column: repaid.fully", "column: repaid", "data.label.column", "repaid is not a column"),
    ("column: repaid.fully, positive: no", "column: id, positive: no", "data.label.column", "is a key"),
    ("positive: no,", "", "data.label.column", "needs 'positive'"),
    ("positive: no,", "positive: maybe,", "data.label.positive", "not one of the column's values"),
    ("name: defaulted, column", "name: income, column", "data.label.name", "already a column"),
    ("name: defaulted, column", "name: __row, column", "data.label.name", "Charter's own"),
    ("known_after: 90d", "known_after: 100d", "train.split.test_from", "known only on 2020-10-08"),
    (
        "{name: defaulted, column: repaid.fully, positive: no, known_after: 90d}",
        "{source: loans, over_next: 9d, positive_when: COUNT(*) > 0}",
        "data.label.source",
        "is for entities",
    ),
    # features
    ('burden: "per_month', 'burden: "per_moth', "features.rows.burden", "uses per_moth, which no source has"),
    (
        'heavy: "burden > 0.4"',
        'heavy: "id > 4"',
        "features.rows.heavy",
        "uses id, which only identifies a row",
    ),
    (
        'heavy: "burden > 0.4"',
        'heavy: "\\"repaid.fully\\" = \'no\'"',
        "features.rows.heavy",
        "the label or made from it",
    ),
    ('heavy: "burden > 0.4"', 'heavy: "defaulted = 1"', "features.rows.heavy", "the label or made from it"),
    ('heavy: "burden > 0.4"', 'heavy: "region = 1"', "features.rows.heavy", "but region is text"),
    (
        'heavy: "burden > 0.4"',
        "heavy: \"applied_at > '2020'\"",
        "features.rows.heavy",
        "but applied_at is a time",
    ),
    ('heavy: "burden > 0.4"', "heavy: applied_at", "features.rows.heavy", "is a time, which is no feature"),
    ('heavy: "burden > 0.4"', 'heavy: "AVG(income)"', "features.rows.heavy", "aggregates over rows"),
    ('heavy: "burden > 0.4"', 'heavy: "heavy > 0.4"', "features.rows.heavy", "needs itself: heavy -> heavy"),
    (
        'heavy: "burden > 0.4"',
        'amount: "burden > 0.4"',
        "features.rows.amount",
        "already the name of a column",
    ),
    ('heavy: "burden > 0.4"', '__row: "burden > 0.4"', "features.rows.__row", "Charter's own"),
    ('heavy: "burden > 0.4"', 'heavy: "burden >"', "features.rows.heavy", "expected a value, found the end"),
    (
        'per_month: "amount / 24"',
        'per_month: "amount / 24"\n        known: "CASE WHEN \\"repaid.fully\\" = \'no\' THEN 1 ELSE 0 END"',
        "data.sources.loans.derive.known",
        "is made from the label",
    ),
    (
        "features:\n",
        "features:\n  windows: {w: {source: loans, aggregate: COUNT(*), over: [7d]}}\n",
        "features.windows",
        "need an entity",
    ),
    ("exclude: [gender]", "exclude: [gendre]", "features.exclude.0", "gendre is not a column"),
    ("exclude: [gender]", "exclude: [gender, gender]", "features.exclude.1", "gender stands twice"),
    ("encode: {region: one_hot}", "encode: {region: numeric}", "features.encode.region", "holds text"),
    ("encode: {region: one_hot}", "encode: {gender: one_hot}", "features.encode.gender", "is excluded"),
    ("encode: {region: one_hot}", "encode: {regoin: one_hot}", "features.encode.regoin", "is not a feature"),
    ("encode: {region: one_hot}", "encode: {id: one_hot}", "features.encode.id", "only identifies a row"),
    (
        "encode: {region: one_hot}",
        "encode: {applied_at: one_hot}",
        "features.encode.applied_at",
        "says when a row was",
    ),
    ("monotone: {burden:", "monotone: {repaid.fully:", "train.monotone.repaid.fully", "the label"),
    ("monotone: {burden:", "monotone: {region:", "train.monotone.region", "holds text"),
    # training
    ("[logistic_regression, lightgbm]", "[lightgbm, lightgbm]", "train.learners.1", "lightgbm stands twice"),
    ("[logistic_regression, lightgbm]", "[lightgmb]", "train.learners.0", "lightgmb is not a learner"),
    ("trials: 5, metric: roc_auc", "trials: 5, metric: recall", "train.search.metric", "needs a threshold"),
    (
        "trials: 5, metric: roc_auc",
        "trials: 5, metric: r2",
        "train.search.metric",
        "r2 is not a metric of a binary task",
    ),
    (
        "{kind: time, train_until: 2020-06-30, test_from: 2020-10-01}",
        "{kind: grouped, group: town, test: 0.2}",
        "train.split.group",
        "town is not a column",
    ),
    # evaluation
    (
        "require: {roc_auc:",
        "require: {roc_auk:",
        "evaluate.require.roc_auk",
        "is not a metric of a binary task",
    ),
    (
        'require: {roc_auc: ">= 0.7"',
        'require: {roc_auc: "> 1"',
        "evaluate.require.roc_auc",
        "can never be met",
    ),
    ("slices: [region,", "slices: [regio,", "evaluate.slices.0", "uses regio"),
    ("slices: [region,", "slices: [amount,", "evaluate.slices.0", "too many values"),
    ("slices: [region,", "slices: [id,", "evaluate.slices.0", "only identifies a row"),
    ('"income < 1000"]', '"income - 1000"]', "evaluate.slices.2", "a condition is needed"),
    ("by: [gender]", "by: [region]", "evaluate.fairness.by.0", "not declared as protected"),
    ("by: [gender]", "by: [gendr]", "evaluate.fairness.by.0", "not a protected column"),
    (
        'by: [gender], demographic_parity_difference: "<= 0.1"',
        'by: [gender], demographic_parity_difference: "<= -0.1"',
        "evaluate.fairness.demographic_parity_difference",
        "can never be met",
    ),
    (
        "maximise: net_value, sub",
        "maximise: roc_auc, sub",
        "evaluate.threshold.maximise",
        "the same at every threshold",
    ),
    (
        'subject_to: {recall: ">= 0.4"}',
        'subject_to: {log_loss: "<= 0.4"}',
        "evaluate.threshold.subject_to.log_loss",
        "the same at every threshold",
    ),
    (
        'subject_to: {recall: ">= 0.4"}',
        'subject_to: {recall: "> 1"}',
        "evaluate.threshold.subject_to.recall",
        "can never be met",
    ),
    (
        '{metric: recall, require: ">= 0.5"}',
        '{metric: recal, require: ">= 0.5"}',
        "kpis.defaults_found.metric",
        "recal is not a metric",
    ),
    (
        '{metric: recall, require: ">= 0.5"}',
        '{metric: recall, require: ">= 5"}',
        "kpis.defaults_found.require",
        "can never be met",
    ),
    (
        'rule: "income < 1500", score: "-income"',
        'rule: "income", score: "-income"',
        "purpose.today.rule",
        "a condition is needed",
    ),
    ('score: "-income"', 'score: "region"', "purpose.today.score", "a number is needed"),
    ('score: "-income"', "score: defaulted", "purpose.today.score", "the label"),
    ("1000 per month", "0 per month", "value.volume", "is nothing"),
    # approval and serving
    (
        "[{stage: technical, role: ml-engineer}]",
        "[{stage: a, role: r}, {stage: a, role: s}]",
        "approve.stages.1.stage",
        "a stands twice",
    ),
    ("valid_for: 30d", "valid_for: 0d", "approve.valid_for", "every approval has lapsed"),
    ("bands: {high: 0.5, low: 0}", "bands: {low: 0, high: 0.5}", "serve.bands.high", "not below low"),
    (
        "bands: {high: 0.5, low: 0}",
        "bands: {high: 0.5, low: 0.1}",
        "serve.bands.low",
        "lower scores have no band",
    ),
    (
        'fallback: {rule: "income < 1500"}',
        'fallback: {rule: "incom < 1500"}',
        "serve.fallback.rule",
        "uses incom",
    ),
    ("factors: {burden:", "factors: {burdn:", "serve.factors.burdn", "is not a feature"),
    ("factors: {burden:", "factors: {gender:", "serve.factors.gender", "is excluded"),
]

ENTITY_CASES = [
    ("      time: at\n", "", "data.observations.population.source", "has no time"),
    ("entity: machine", "entity: robot", "data.observations.population.source", "has no column robot"),
    ("last: 2020-12-28", "last: 2019-12-28", "data.observations.cutoffs.last", "earlier than first"),
    ("last: 2020-12-28", "last: 2420-12-28", "data.observations.cutoffs", "more than a century"),
    (
        "population: {source: readings",
        "population: {source: reading",
        "data.observations.population.source",
        "reading is not a source",
    ),
    (
        'having: "COUNT(*) >= 10"',
        'having: "COUNT(*)"',
        "data.observations.population.having",
        "a condition is needed",
    ),
    (
        'having: "COUNT(*) >= 10"',
        'having: "hot"',
        "data.observations.population.having",
        "does not aggregate",
    ),
    ('having: "COUNT(*) >= 10"', 'where: "hott"', "data.observations.population.where", "uses hott"),
    ("over_next: 30d", "over_next: 60d", "train.split.test_from", "known only on 2020-10-30"),
    ("over_next: 30d", "over_next: 30d, known_after: 5d", "data.label.known_after", "shorter than over_next"),
    (
        'positive_when: "COUNT(*) > 0"',
        'positive_when: "COUNT(*)"',
        "data.label.positive_when",
        "a condition is needed",
    ),
    (
        'positive_when: "COUNT(*) > 0"',
        'positive_when: "age_days > 0"',
        "data.label.positive_when",
        "uses age_days",
    ),
    ("where: \"state = 'failed'\"", 'where: "state = 3"', "data.label.where", "but state is text"),
    (
        "{name: fails, source: readings",
        "{positive: 1, name: fails, source: readings",
        "data.label.positive",
        "is for a label in a column",
    ),
    (
        'label: {name: fails, source: readings, over_next: 30d, where: "state = '
        '\'failed\'", positive_when: "COUNT(*) > 0"}',
        "label: {column: state, positive: failed}",
        "data.label.column",
        "entities have no column",
    ),
    (
        "heat: {source: readings",
        "heat: {source: readngs",
        "features.windows.heat.source",
        "readngs is not a source",
    ),
    ("AVG(celsius)", "celsius", "features.windows.heat.aggregate", "does not aggregate"),
    ("AVG(celsius)", "AVG(celcius)", "features.windows.heat.aggregate", "uses celcius"),
    ("AVG(celsius)", "MAX(state)", "features.windows.heat.aggregate", "a number is needed"),
    ("AVG(celsius)", "AVG(state)", "features.windows.heat.aggregate", "is text, AVG needs a number"),
    ("over: [7d, 30d]", "over: [7d, 7d]", "features.windows.heat.over.1", "7d stands twice"),
    ('where: "hot",', 'where: "celsius",', "features.windows.alarms.where", "a condition is needed"),
    (
        "heat_7d - heat_30d",
        "heat_7d - heat_90d",
        "features.rows.warming",
        "neither a window feature nor a row feature",
    ),
    ("heat_7d - heat_30d", "heat_7d - celsius", "features.rows.warming", "neither a window feature"),
    ('rule: "heat_7d > 80"', "rule: \"machine = 'x'\"", "purpose.today.rule", "only identifies a row"),
    (
        'rows: {warming: "heat_7d - heat_30d"}',
        "exclude: [heat]",
        "features.exclude.0",
        "heat is a window, not a feature",
    ),
    (
        "serve: {fallback",
        "serve: {factors: {alarms: x}, fallback",
        "serve.factors.alarms",
        "is a window, not a feature",
    ),
    (
        "{kind: time, train_until: 2020-08-31, test_from: 2020-10-01}",
        "{kind: random, test: 0.2}",
        "train.split.kind",
        "on both sides",
    ),
    (
        "train_until: 2020-08-31",
        "train_until: 2020-01-01",
        "train.split.train_until",
        "before the first cut-off",
    ),
    ("train_until: 2020-08-31", "train_until: 2020-02-01", "train.split.folds", "only 4 cut-offs"),
    (
        "test_from: 2020-10-01",
        "test_from: 2021-10-01",
        "train.split.test_from",
        "leaves no cut-off for testing",
    ),
    (
        'require: {average_precision: ">= 0.3"}',
        'require: {net_value: "> 0"}',
        "evaluate.require.net_value",
        "needs 'value'",
    ),
    (
        "threshold: {fixed: 0.5}",
        "threshold: {maximise: net_value}",
        "evaluate.threshold.maximise",
        "needs 'value'",
    ),
    ("serve: {fallback", "evaluatee: 3\nserve: {fallback", "evaluatee", "is not a key"),
]


SERIES_CASES = [
    (
        "series: [shop, item]",
        "series: [shop, thing]",
        "data.observations.series.1",
        "is not a column of the source",
    ),
    ("known_ahead: [price]", "known_ahead: [prise]", "data.observations.known_ahead.0", "is not a column"),
    (
        "known_ahead: [price]",
        "known_ahead: [price, price]",
        "data.observations.known_ahead.1",
        "stands twice",
    ),
    (
        "known_ahead: [price]",
        "known_ahead: [price, log_packs]",
        "data.observations.known_ahead.1",
        "made from it",
    ),
    (
        "known_ahead: [price]",
        "known_ahead: [price, item]",
        "data.observations.known_ahead.1",
        "known of every row",
    ),
    (
        "attributes: {shops: shop}",
        "attributes: {shops: size}",
        "data.observations.attributes.shops",
        "not one of",
    ),
    (
        "attributes: {shops: shop}",
        "attributes: {shop: shop}",
        "data.observations.attributes.shop",
        "is not a source",
    ),
    (
        "size: {type: float}",
        "price: {type: float}",
        "data.observations.attributes.shops",
        "a column of sales, too",
    ),
    ("    time: week\n    every", "    time: price\n    every", "data.observations.time", "is not a time"),
    (
        "weather: {type: float}",
        "step: {type: float}",
        "data.sources.sales.columns.step",
        "forecasts need themselves",
    ),
    ("column: packs", "column: price", "data.label.column", "known ahead"),
    ("every: week", "every: day\n    starts_on: monday", "data.observations", "is for 'every: week'"),
    ("    horizon: 8\n", "", "data.observations", "need 'horizon'"),
    (
        "kind: origins, origins: 4",
        "kind: random, test: 0.2",
        "train.split.kind",
        "is random, and the task is forecast",
    ),
    ("origins: 4", "origins: 4, test: 0.2", "train.split", "takes no share"),
    (
        "origins: 4",
        "origins: 4, hold_out: {column: size, share: 0.1}",
        "train.split.hold_out.column",
        "is not one of",
    ),
    ("steps_per_target: 2", "steps_per_target: 9", "train.steps_per_target", "more than the horizon"),
    ('weight: "sold + 1"', 'weight: "weather"', "train.weight", "which no observation has"),
    ("steps_per_target: 2", "step_blocks: [2, 4]", "train.step_blocks", "rise to the horizon"),
    ('weight: "sold + 1"', 'interval_scale: "sold + 1"', "train.interval_scale", "which is no feature"),
    ("horizon_blocks: [4, 8]", "horizon_blocks: [4, 6]", "evaluate.horizon_blocks", "rise to the horizon"),
    ("task: forecast", "task: regression", "data.observations.series", "is for forecasts"),
    ('dear: "price * size"', 'dear: "weather * size"', "features.rows.dear", "uses weather"),
]


def faults(text: str, old: str, new: str) -> list[tuple[str, str]]:
    assert text.count(old) == 1, (old, text.count(old))
    with pytest.raises(SpecError) as caught:
        loads(text.replace(old, new))
    for problem in caught.value.problems:
        assert problem.line > 0
        assert problem.column > 0
        line = caught.value.lines[problem.line - 1]
        assert problem.column - 1 + problem.width <= len(line), "the underlined part lies within the line"
    return [(".".join(str(key) for key in p.path), p.message) for p in caught.value.problems]


@pytest.mark.parametrize(("old", "new", "path", "message"), ROW_CASES)
def test_what_does_not_fit_is_told_for_rows(old: str, new: str, path: str, message: str) -> None:
    found = faults(ROWS, old, new)
    assert any(where == path and message in what for where, what in found), found


@pytest.mark.parametrize(("old", "new", "path", "message"), ENTITY_CASES)
def test_what_does_not_fit_is_told_for_entities(old: str, new: str, path: str, message: str) -> None:
    found = faults(ENTITIES, old, new)
    assert any(where == path and message in what for where, what in found), found


def test_a_horizon_of_one_needs_no_word_about_steps_per_target() -> None:
    one = SERIES.replace("horizon: 8", "horizon: 1").replace("  horizon_blocks: [4, 8]\n", "")
    assert loads(one.replace("  steps_per_target: 2\n", "")).spec.train.steps_per_target == 2
    found = faults(one, "steps_per_target: 2", "steps_per_target: 3")
    assert any(where == "train.steps_per_target" and "horizon of 1" in what for where, what in found), found


@pytest.mark.parametrize(
    ("task", "path"),
    [
        ("regression", "purpose.today.rule"),
        ("regression", "purpose.today.score"),
        ("regression", "value"),
        ("regression", "evaluate.require.roc_auc"),
        ("regression", "evaluate.threshold"),
        ("regression", "evaluate.fairness"),
        ("regression", "serve.bands"),
        ("regression", "serve.fallback"),
        ("regression", "train.search.metric"),
        ("regression", "data.label.positive"),
        ("regression", "data.label.column"),
        ("multiclass", "train.monotone"),
        ("multiclass", "kpis.defaults_found.metric"),
    ],
)
def test_what_is_of_another_task_is_told(task: str, path: str) -> None:
    assert path in [where for where, _ in faults(ROWS, "task: binary", f"task: {task}")]


def test_a_rule_of_another_task_is_told_once() -> None:
    found = faults(ROWS, "task: binary", "task: regression")
    assert [where for where, _ in found].count("purpose.today.rule") == 1


def test_todays_score_needs_todays_rule() -> None:
    found = faults(ROWS, 'rule: "income < 1500", ', "")
    assert ("purpose.today.score", "ranks the rows of a rule, and there is none") in found


def test_a_fallback_above_one_is_told_why() -> None:
    with pytest.raises(
        ValidationError, match="is 900; it stands for a probability, 0 to 1: only a binary model"
    ):
        Fallback(score=900.0)


def test_a_cycle_among_features_is_named() -> None:
    found = faults(ROWS, 'heavy: "burden > 0.4"', 'heavy: "light + 1"\n    light: "heavy - 1"')
    assert any("needs itself:" in what and "light" in what and "heavy" in what for _, what in found)


def test_a_model_must_see_something() -> None:
    text = ROWS.replace(
        '  rows:\n    burden: "per_month / NULLIF(income, 0)"\n    heavy: "burden > 0.4"\n', ""
    )
    text = text.replace("  encode: {region: one_hot}\n", "").replace("  monotone: {burden: increasing}\n", "")
    text = text.replace("  factors: {burden: instalment against income}\n", "")
    found = faults(text, "exclude: [gender]", "exclude: [gender, branch, income, amount, region, per_month]")
    assert found == [("features", "leave the model nothing to see")]


def test_faults_without_a_file_have_their_paths() -> None:
    spec = loads(ROWS).spec
    assert find(spec) == []
    broken = spec.model_copy(update={"train": spec.train.model_copy(update={"learners": ("oracle",)})})
    (problem,) = cross_check(broken)
    assert problem.path == ("train", "learners", 0)
    assert "learners:" in problem.hint
    assert problem.line == 0


@pytest.mark.parametrize(("old", "new", "path", "message"), SERIES_CASES)
def test_what_does_not_fit_is_told_for_series(old: str, new: str, path: str, message: str) -> None:
    loads(SERIES)
    found = faults(SERIES, old, new)
    assert any(place == path and message in text for place, text in found), found
