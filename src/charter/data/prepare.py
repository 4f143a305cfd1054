"""From rows as read to rows that keep the contract, with an account of all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import polars as pl

from charter.core.errors import DataError, UsageError
from charter.core.nearest import advice, did_you_mean
from charter.core.quantity import parse_duration
from charter.data.cast import as_text
from charter.data.contract import Rule, broken_rows, column_rules, conform, not_in_the_future, without_marks
from charter.data.expressions import compile_expression, finite
from charter.data.types import REASON, ROW_NUMBER, ContractReport, Prepared, Violation
from charter.spec.types import Policy, SourceSpec

_EXAMPLES = 5


def prepare(
    frame: pl.DataFrame,
    name: str,
    source: SourceSpec,
    *,
    now: datetime,
    references: Mapping[str, pl.DataFrame] | None = None,
) -> Prepared:
    """Rename, drop duplicates, cast, derive, filter, check, set aside.

    Parameters
    ----------
    frame
        Rows as read, in the order of the source.
    name
        Name of the source, for messages.
    source
        Its specification.
    now
        When the data was read; nothing may have happened later. Naive means UTC.
    references
        Prepared frames of the other sources by name, for foreign keys.

    Returns
    -------
    Prepared rows, quarantined rows and the report. A violation never raises: judge ``report.decision()``.

    Raises
    ------
    DataError
        When a declared column is not there, an expression cannot be evaluated on the data, or a format is not one.

    Examples
    --------
    >>> from charter.spec.types import ColumnSpec
    >>> source = SourceSpec(uri="a.csv", columns={"n": ColumnSpec(type="integer", min=0)}, on_violation="quarantine")
    >>> result = prepare(pl.DataFrame({"n": ["1", "-2", "x"]}), "a", source, now=datetime(2026, 1, 1))
    >>> result.frame["n"].to_list(), [(v.rule, v.examples) for v in result.report.violations]
    ([1], [('integer', ("row 3: 'x'",)), ('at least 0', ("row 2: '-2'",))])
    """
    now = now.astimezone(UTC).replace(tzinfo=None) if now.tzinfo is not None else now
    rows_read = frame.height
    frame = _blanked(_renamed(frame, name, source), source)
    twice = frame.is_duplicated() if source.duplicates == "fail" else None
    frame = frame.with_columns(pl.int_range(1, rows_read + 1, dtype=pl.Int64).alias(ROW_NUMBER))
    found: list[Violation] = []
    if twice is not None and twice.any():
        rows = [f"row {r}" for r in frame.filter(twice)[ROW_NUMBER].head(_EXAMPLES)]
        found.append(
            Violation(name, "", "no duplicate rows", "fail", int(twice.sum()), tuple(rows), ("duplicates",))
        )
    if source.duplicates == "drop":
        columns = [c for c in frame.columns if c != ROW_NUMBER]
        frame = frame.unique(subset=columns, keep="first", maintain_order=True)
    duplicates = rows_read - frame.height

    declared = [c for c in source.columns if c not in source.derive]
    raw = frame.select(ROW_NUMBER, *declared)
    cast_frame = conform(raw, {c: source.columns[c] for c in declared})
    cast_frame = _derived(cast_frame, name, source)
    kept = _in_scope(cast_frame, name, source)
    filtered = cast_frame.height - int(kept.sum())
    if filtered:
        cast_frame, raw = cast_frame.filter(kept), raw.filter(kept)

    rules = _rules(cast_frame, name, source, now, references or {})
    masks = broken_rows(cast_frame, rules)
    for rule, mask in zip(rules, masks, strict=True):
        if mask.any():
            found.append(_violation(name, source, rule, mask, cast_frame, raw))
    found += _stale(cast_frame, name, source, now)

    aside = [
        (r, m)
        for r, m in zip(rules, masks, strict=True)
        if _policy(source, r.column) == "quarantine" and m.any()
    ]
    reason = _reasons(cast_frame.height, aside)
    bad = reason != ""
    result = finite(without_marks(cast_frame))
    quarantine = result.with_columns(reason.alias(REASON)).filter(bad)
    names = list(dict.fromkeys((*source.columns, *source.derive)))
    good = (result.filter(~bad) if aside else result).select(names)
    report = ContractReport(
        name, rows_read, good.height, duplicates, filtered, quarantine.height, tuple(found)
    )
    return Prepared(good, quarantine.select(*names, ROW_NUMBER, REASON), report)


def prepare_all(
    frames: Mapping[str, pl.DataFrame], sources: Mapping[str, SourceSpec], *, now: datetime
) -> dict[str, Prepared]:
    """Prepare several sources, those that others refer to first.

    Raises
    ------
    DataError
        As `prepare`; also when sources refer to each other in a circle.
    """
    done: dict[str, Prepared] = {}
    waiting = dict(sources)
    while waiting:
        ready = [n for n, s in waiting.items() if not (_referred(s) & waiting.keys() - {n})]
        if not ready:
            raise DataError(
                f"sources {', '.join(waiting)} refer to each other in a circle",
                remedy="Drop one of their foreign_keys.",
            )
        for n in ready:
            references = {k: p.frame for k, p in done.items()}
            done[n] = prepare(frames[n], n, waiting.pop(n), now=now, references=references)
    return {n: done[n] for n in sources}


def _referred(source: SourceSpec) -> set[str]:
    return {key.references.partition(".")[0] for key in source.foreign_keys}


def _renamed(frame: pl.DataFrame, name: str, source: SourceSpec) -> pl.DataFrame:
    for old in source.rename:
        if old not in frame.columns:
            raise _absent(name, old, frame.columns)
    frame = frame.rename(dict(source.rename))
    for column in source.columns:
        if column not in frame.columns and column not in source.derive:
            raise _absent(name, column, frame.columns)
    return frame


def _blanked(frame: pl.DataFrame, source: SourceSpec) -> pl.DataFrame:
    """Leave nothing where the source has a word for it, in columns whose type has no words."""
    if not source.null_values:
        return frame
    texts = [
        c for c, spec in source.columns.items()
        if spec.type not in ("category", "text") and c in frame.columns and frame.schema[c] == pl.String
    ]  # fmt: skip
    absent = pl.col(texts).str.strip_chars().is_in(source.null_values)
    return frame.with_columns(pl.when(~absent).then(pl.col(texts))) if texts else frame


def _absent(name: str, column: str, known: Sequence[str]) -> DataError:
    return DataError(f"source {name}: column {column!r} is not there", remedy=advice(column, known))


def _derived(frame: pl.DataFrame, name: str, source: SourceSpec) -> pl.DataFrame:
    for column, text in source.derive.items():
        frame = frame.with_columns(_evaluate(frame, text, f"source {name}: derive.{column}").alias(column))
    again = {c: spec for c, spec in source.columns.items() if c in source.derive}
    return conform(frame, again) if again else frame


def _in_scope(frame: pl.DataFrame, name: str, source: SourceSpec) -> pl.Series:
    if source.where is None:
        return pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True)
    return _truth(frame, source.where, f"source {name}: where").fill_null(False)


def _evaluate(frame: pl.DataFrame, text: str, what: str) -> pl.Series:
    try:
        series = frame.select(compile_expression(text).alias("x")).to_series()
    except (pl.exceptions.PolarsError, UsageError) as error:
        raise DataError(f"{what} {text!r} cannot be evaluated: {str(error).splitlines()[0]}") from error
    # A constant stands for every row; an aggregate over all rows is not what a row expression means, but is one value.
    return series.new_from_index(0, frame.height) if series.len() == 1 != frame.height else series


def _truth(frame: pl.DataFrame, text: str, what: str) -> pl.Series:
    series = _evaluate(frame, text, what)
    if series.dtype not in (pl.Boolean, pl.Null):
        raise DataError(
            f"{what} {text!r} is not true or false but {series.dtype}", remedy="Write a comparison."
        )
    return series.cast(pl.Boolean)


def _rules(
    frame: pl.DataFrame, name: str, source: SourceSpec, now: datetime, references: Mapping[str, pl.DataFrame]
) -> list[Rule]:
    rules = column_rules(source.columns)
    if source.time is not None and frame.schema[source.time].is_temporal():
        rules.append(not_in_the_future(source.time, now))
    for label, text in source.rules.items():
        # A rule must be true: where a value is missing and the answer is unknown, it is not.
        truth = _truth(frame, text, f"source {name}: rules.{label}").fill_null(False)
        rules.append(Rule("", "rule", f"{label}: {text}", pl.lit(~truth), ("rules", label)))
    if source.key:
        key = pl.struct(source.key).is_duplicated()
        together = " together" if len(source.key) > 1 else ""
        rules.append(Rule("", "key", f"{', '.join(source.key)}{together} unique, as the key", key, ("key",)))
    for foreign in source.foreign_keys:
        other, _, column = foreign.references.partition(".")
        target = frame if other == name else references.get(other)
        if target is None or column not in target.columns:
            raise DataError(
                f"source {name}: foreign key {foreign.column} refers to {foreign.references}, which is not there",
                remedy=did_you_mean(
                    foreign.references, [f"{s}.{c}" for s, f in references.items() for c in f.columns]
                ),
            )
        known = as_text(pl.col(column), target.schema[column])
        values = target.select(known.drop_nulls().unique()).to_series()
        own = as_text(pl.col(foreign.column), frame.schema[foreign.column])
        unknown = ~own.is_in(values.implode())
        text = f"stands in {foreign.references}"
        rules.append(Rule(foreign.column, "foreign_key", text, unknown, ("foreign_keys",)))
    return rules


def _policy(source: SourceSpec, column: str) -> Policy:
    own = source.columns[column].on_violation if column in source.columns else None
    return own or source.on_violation


def _violation(
    name: str, source: SourceSpec, rule: Rule, mask: pl.Series, frame: pl.DataFrame, raw: pl.DataFrame
) -> Violation:
    first = mask.arg_true().head(_EXAMPLES)
    numbers = frame[ROW_NUMBER].gather(first).to_list()
    spec = source.columns.get(rule.column)
    if rule.kind == "missing" or not rule.column:
        shown = [f"row {n}" for n in numbers]
    elif spec is not None and spec.sensitivity == "personal":
        shown = [f"row {n}: (personal)" for n in numbers]
    else:
        origin = raw if rule.column in raw.columns else frame
        values = origin[rule.column].gather(first).to_list()
        shown = [f"row {n}: {_short(v)}" for n, v in zip(numbers, values, strict=True)]
    policy = _policy(source, rule.column)
    return Violation(name, rule.column, rule.text, policy, int(mask.sum()), tuple(shown), rule.path)


def _short(value: object) -> str:
    text = str(value) if isinstance(value, datetime) else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _stale(frame: pl.DataFrame, name: str, source: SourceSpec, now: datetime) -> list[Violation]:
    if source.fresh_within is None or source.time is None or not frame.schema[source.time].is_temporal():
        return []
    newest = frame[source.time].cast(pl.Datetime("us")).max()
    if isinstance(newest, datetime) and newest >= now - parse_duration(source.fresh_within):
        return []
    shown = (
        f"the newest is of {newest:%Y-%m-%d %H:%M}" if isinstance(newest, datetime) else "no row has a time"
    )
    # A table as a whole cannot be set aside.
    policy: Policy = "warn" if source.on_violation == "warn" else "fail"
    rule = f"newest row not older than {source.fresh_within} when the data was read"
    return [Violation(name, source.time, rule, policy, 1, (shown,), ("fresh_within",))]


def _reasons(height: int, aside: Sequence[tuple[Rule, pl.Series]]) -> pl.Series:
    """Text per row: the rules under quarantine that it broke; empty for a good row."""
    texts = [
        pl.when(pl.lit(mask)).then(pl.lit(f"{rule.column}: {rule.text}" if rule.column else rule.text))
        for rule, mask in aside
    ]
    if not texts:
        return pl.repeat("", height, dtype=pl.String, eager=True)
    return pl.select(pl.concat_str(texts, separator="; ", ignore_nulls=True)).to_series()
