"""A drafted specification as a file that people go on with: one column a line, and what is asked of them in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from charter.core.text import printable
from charter.spec.expand import in_one_line
from charter.spec.notices import UNWRITTEN

if TYPE_CHECKING:
    from datetime import date

    from charter.data.draft import DraftColumn
    from charter.flow.draft import Table

_SMALL = 2000


def model_yaml(table: Table, name: str, *, actor: str, today: date) -> str:
    """Write the specification.

    Parameters
    ----------
    actor
        Who answers for the model, until somebody else is named.
    today
        Where rows are of days to come, the dates of the split are fixed; else they follow the newest row.
    """
    lines = [
        f"# Drafted by `charter init` from {printable(table.uri)}, {table.rows:,} rows.",
        f"# What the table tells is filled in. '{UNWRITTEN}' marks what a person must say; `charter check` lists it.",
        "spec_version: 1",
        f"name: {name}",
        f"summary: {_ask(f'what does a prediction of {table.target} say, in a sentence?')}",
        f"owner: {{team: {in_one_line(actor)}, contact: {_ask('an address that reaches the owner')}}}",
        "",
        "purpose:",
        f"  problem: {_ask('what goes wrong today, and what does it cost?')}",
        f"  objective: {_ask('what is to become better, by how much?')}",
        f"  decision: {_ask('what is done differently when the prediction is high or low?')}",
        f"  users: [{_ask('who acts on it?')}]",
        "  today:",
        f"    process: {_ask('how is it decided or estimated without a model?')}",
        *_today(table),
        f"  harms: [{_ask('what does a wrong answer do to whom?')}]",
        f"  limits: [{_ask('where must it not be used?')}]",
        "",
        *_data(table),
        *_features(table),
        *_train(table, today),
        *_rest(table),
    ]
    return "\n".join(lines) + "\n"


def readme(table: Table, name: str, said: Sequence[str]) -> str:
    """Write the page beside it: what was taken from the table, and what to do next."""
    found = "\n".join(f"- {printable(one)}" for one in said)
    return f"""# {name}

Drafted by `charter init` from `{printable(table.uri)}`, {table.rows:,} rows. What was taken from the table:

{found}

## Next

1. `charter check` lists what is still to be written in `model.yaml`: each place begins with "{UNWRITTEN}".
2. Look at `data.sources.{table.source}.columns`: a column that is not known yet when the prediction is made must go.
3. `charter plan`, `charter apply`, `charter show v1`.
4. Say what decisions are worth (`value`), what quality is required (`evaluate.require`), and who must sign (`approve`).
"""


def _ask(question: str) -> str:
    return in_one_line(f"{UNWRITTEN}: {question}")


def _today(table: Table) -> Iterator[str]:
    if table.task == "binary":
        yield "    # rule: what decides today, as a condition on columns; the model must then beat it"


def _data(table: Table) -> Iterator[str]:
    yield from ("data:", "  sources:", f"    {table.source}:")
    yield f"      description: {_ask('what is a row, where does the table come from, of which time?')}"
    yield f"      consent: {_ask('on which legal basis may it be used?')}"
    for field, value in _source(table).items():
        yield f"      {field}: {in_one_line(value)}"
    yield "      columns:"
    if table.row_number is not None:
        yield f"        {in_one_line(table.row_number)}: {{type: integer, unique: true}}"
    for name, column in table.columns.items():
        yield f"        {in_one_line(name)}: {in_one_line(_column(table, name, column))}{_remark(column)}"
    for name, why in table.left_out.items():
        yield f"        # {printable(name)} is left out: {printable(why)}"
    when = f", time: {in_one_line(table.time)}" if table.time is not None else ""
    yield f"  observations: {{source: {table.source}, key: {in_one_line(list(table.key))}{when}}}"
    positive = f", positive: {in_one_line(table.positive)}" if _has_positive(table) else ""
    yield "  # known_after: how long after the prediction the label is known, such as 30d; outcomes count from then on"
    yield f"  label: {{name: {_label_name(table)}, column: {in_one_line(table.target)}{positive}}}"
    yield ""


def _source(table: Table) -> dict[str, Any]:
    """Fields of the source beside its columns."""
    words = sorted({word for column in table.columns.values() for word in column.null_words})
    found: dict[str, Any] = {"uri": table.uri, "key": list(table.key)}
    if table.rename:
        found["rename"] = dict(table.rename)
    if table.row_number is not None:
        found["row_number"] = table.row_number
    if words:
        found["null_values"] = words
    return found


def _column(table: Table, name: str, column: DraftColumn) -> dict[str, Any]:
    found = column.declared()
    if name in table.key:
        found = {k: v for k, v in found.items() if k not in ("min", "max", "values")}
        if len(table.key) == 1:
            found["unique"] = True
    return found | {"description": UNWRITTEN}


def _has_positive(table: Table) -> bool:
    return table.positive is not None and table.columns[table.target].type != "boolean"


def _label_name(table: Table) -> str:
    """The target's own name where it is a plain word; else one that no column has."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", table.target):
        return in_one_line(table.target)
    word = re.sub(r"\W+", "_", table.target, flags=re.ASCII).strip("_")[:50]
    found = word if re.match(r"[A-Za-z_]", word) else f"label_{word}".rstrip("_")
    while found in table.columns:
        found += "_"
    return in_one_line(found)


def _remark(column: DraftColumn) -> str:
    words = [column.remark] if column.remark else []
    if column.missing:
        words.append(f"missing in {column.missing:,} rows")
    return f"  # {printable('; '.join(words))}" if words else ""


def _features(table: Table) -> Iterator[str]:
    if not table.exclude:
        return
    yield "features:"
    yield "  exclude:"
    for name, why in table.exclude.items():
        yield f"    - {in_one_line(name)}  # {printable(why)}"
    yield ""


def _train(table: Table, today: date) -> Iterator[str]:
    yield "train:"
    yield f"  task: {table.task}"
    if table.days is not None:
        _, until, test, last = table.days
        if last <= today + timedelta(days=1):
            dates = f"latest - {(last - until).days}d", f"latest - {(last - test).days}d"
        else:
            dates = until.isoformat(), test.isoformat()
        yield f"  split: {{kind: time, train_until: {dates[0]}, test_from: {dates[1]}}}"
    else:
        share = 0.3 if table.rows < _SMALL else 0.2
        stratify = ", stratify: true" if table.task != "regression" else ""
        yield f"  split: {{kind: random{stratify}, test: {share}}}"
    yield (
        "  learners: [logistic_regression, lightgbm]"
        if table.task != "regression"
        else "  learners: [lightgbm]"
    )
    yield "  search: {trials: 10}"
    if table.task == "binary":
        yield f"  calibrate: {'sigmoid' if table.rows < _SMALL else 'isotonic'}"
    yield "  seed: 1"
    yield ""


def _rest(table: Table) -> Iterator[str]:
    yield "evaluate:"
    yield "  # require: the quality without which the model is not released, such as a metric and a limit"
    yield "  beat_baseline: {by: 0}  # it must at least beat the answer that is the same for every row"
    slices = [
        n
        for n, c in table.columns.items()
        if c.sensitivity == "protected" and c.type in ("category", "boolean")
    ]
    if slices:
        yield f"  slices: {in_one_line(slices)}"
    yield ""
    yield "approve: none  # six-stage, or who must sign: a model that decides about people needs signatures"
    yield ""
    yield "serve: {reasons: 3}"
