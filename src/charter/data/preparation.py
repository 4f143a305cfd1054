"""Judging the rows of one source a part at a time; how they are cut into parts changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl

from charter.core.errors import DataError, UsageError
from charter.core.nearest import advice, did_you_mean
from charter.core.quantity import parse_duration
from charter.data.cast import as_text
from charter.data.contract import Rule, broken_rows, column_rules, conform, not_in_the_future
from charter.data.expressions import compile_expression, finite
from charter.data.types import REASON, ROW_NUMBER, ContractReport, Judged, Violation
from charter.spec.types import Policy, SourceSpec

_EXAMPLES = 5
_BROKEN, _RAW = "__broken:", "__raw:"


@dataclass(slots=True)
class _Tally:
    """Rows that break a rule: how many, and the first few in words."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


class Preparation:
    """Renames, casts, derives, filters and checks rows as they come, and sets aside those that break the contract.

    What a row tells by itself is judged by `add`. What only all rows together tell (keys, unique values, the newest
    row) is judged by `finish`: of the columns concerned, and of no others, all rows are in memory. Which rows are
    duplicates has to be known before; `compare` finds them by the `hashes` of all parts.

    Parameters
    ----------
    name
        Name of the source, for messages.
    source
        Its specification.
    now
        When the data was read; nothing may have happened later. Naive means UTC.
    references
        Prepared rows of the other sources by name, for foreign keys.
    result
        Column that only what has happened has a value of; rows without one are plans, which may be of the future.
    """

    def __init__(
        self,
        name: str,
        source: SourceSpec,
        *,
        now: datetime,
        references: Mapping[str, pl.LazyFrame] | None = None,
        result: str | None = None,
    ) -> None:
        self._name, self._source, self._result = name, source, result
        self._now = now.astimezone(UTC).replace(tzinfo=None) if now.tzinfo is not None else now
        self._references = references or {}
        self._columns = list(dict.fromkeys((*source.columns, *source.derive)))
        self._known: dict[str, pl.Series] = {}
        self._repeated: pl.Series | None = None
        self._rows_read = self._filtered = self._in_scope = 0
        self._newest: datetime | None = None
        self._rules: list[Rule] = []
        self._tallies: dict[int, _Tally] = {}

    def hashes(self, part: pl.DataFrame) -> pl.DataFrame:
        """Hash rows as read to 128 bits, by which equal rows are known.

        Among 10^9 rows two different ones share a hash with a probability of 10^-21.
        """
        rows = _blanked(_renamed(part, self._name, self._source), self._source)
        return pl.DataFrame({str(seed): rows.hash_rows(seed=seed) for seed in (1, 2)})

    def compare(self, hashes: pl.DataFrame) -> None:
        """Find the rows that are alike in every column, from the hashes of all parts in their order."""
        if self._source.duplicates == "drop":
            self._repeated = ~hashes.select(pl.struct(pl.all()).is_first_distinct()).to_series()
        else:
            self._repeated = hashes.is_duplicated()

    def add(self, part: pl.DataFrame) -> pl.DataFrame:
        """Judge the next rows, each by itself.

        Returns
        -------
        The rows in scope with their types, and what `finish` has to know of them; all parts have the same columns.

        Raises
        ------
        DataError
            When a declared column is not there, an expression cannot be evaluated on the data, a format is not one, or
            `compare` was told of other rows.
        """
        name, source, before = self._name, self._source, self._rows_read
        rows = _blanked(_renamed(part, name, source), source)
        numbers = pl.int_range(before + 1, before + 1 + part.height, dtype=pl.Int64)
        rows = rows.with_columns(numbers.alias(ROW_NUMBER))
        self._rows_read += part.height
        if self._repeated is not None:
            repeated = self._repeated.slice(before, part.height)
            if repeated.len() != part.height:
                raise self._changed()
            rows = rows.filter(~repeated) if source.duplicates == "drop" else rows

        declared = [c for c in source.columns if c not in source.derive]
        raw = rows.select(ROW_NUMBER, *declared)
        frame = conform(raw, {c: source.columns[c] for c in declared})
        frame = _derived(frame, name, source)
        kept = _scope(frame, name, source)
        filtered = frame.height - int(kept.sum())
        if filtered:
            frame, raw = frame.filter(kept), raw.filter(kept)
        self._filtered += filtered
        self._in_scope += frame.height

        self._rules = self._rules_of(frame)
        own = {i: rule for i, rule in enumerate(self._rules) if not rule.across}
        masks = dict(zip(own, broken_rows(frame, own.values()), strict=True))
        for i, mask in masks.items():
            if mask.any():
                first = mask.arg_true().head(_EXAMPLES)
                self._count(i, int(mask.sum()), frame[first], raw[first])
        self._look_at_time(frame)
        shown = dict.fromkeys(r.column for r in self._rules if r.across and r.column in declared)
        return frame.select(
            *self._columns,
            ROW_NUMBER,
            *(m.alias(f"{_BROKEN}{i}") for i, m in masks.items() if self._sets_aside(own[i])),
            *(raw[c].alias(_RAW + c) for c in shown),
        )

    def finish(self, judged: pl.LazyFrame) -> Judged:
        """Judge what only all rows tell, and part the good from the others.

        Parameters
        ----------
        judged
            What `add` gave for all parts, in their order.

        Raises
        ------
        DataError
            When `compare` was told of more rows.
        """
        name, source, repeated = self._name, self._source, self._repeated
        if repeated is not None and repeated.len() != self._rows_read:
            raise self._changed()
        broken = {i: pl.col(f"{_BROKEN}{i}") for i in self._tallies}
        broken |= self._broken_together(judged)

        found: list[Violation] = []
        duplicates = 0 if repeated is None else int(repeated.sum())
        if source.duplicates == "fail" and repeated is not None and duplicates:
            rows = tuple(f"row {n + 1}" for n in repeated.arg_true().head(_EXAMPLES))
            found.append(Violation(name, "", "no duplicate rows", "fail", duplicates, rows, ("duplicates",)))
        for i, tally in sorted(self._tallies.items()):
            rule, examples = self._rules[i], tuple(tally.examples)
            policy = _policy(source, rule.column)
            found.append(Violation(name, rule.column, rule.text, policy, tally.count, examples, rule.path))
        found += self._stale()

        aside = {i: self._rules[i] for i in sorted(self._tallies) if self._sets_aside(self._rules[i])}
        reason = _reason([(broken[i], rule) for i, rule in aside.items()])
        away = int(judged.select((reason != "").sum()).collect(engine="streaming").item()) if aside else 0
        good = judged.filter(reason == "") if aside else judged
        quarantine = judged.filter(reason != "").with_columns(reason.alias(REASON))
        report = ContractReport(
            name,
            self._rows_read,
            self._in_scope - away,
            duplicates if source.duplicates == "drop" else 0,
            self._filtered,
            away,
            tuple(found),
        )
        return Judged(
            finite(good.select(self._columns)),
            finite(quarantine.select(*self._columns, ROW_NUMBER, REASON)),
            report,
        )

    def _changed(self) -> DataError:
        return DataError(
            f"source {self._name} changed while it was read", remedy="Run the same command again."
        )

    def _broken_together(self, judged: pl.LazyFrame) -> dict[int, pl.Expr]:
        """Judge the rules that compare rows: for each that is broken, which rows break it."""
        broken = {}
        number = pl.col(ROW_NUMBER)
        for i, rule in enumerate(self._rules):
            if not rule.across:
                continue
            bad = judged.select(number.filter(rule.broken.fill_null(False))).collect().to_series()
            if bad.len():
                rows = judged.filter(number.is_in(bad.head(_EXAMPLES).implode())).collect()
                raw = rows.select(c for c in rows.columns if c.startswith(_RAW))
                raw = raw.rename(lambda c: c.removeprefix(_RAW))
                self._count(i, bad.len(), rows, raw)
                broken[i] = number.is_in(bad.implode())
        return broken

    def _sets_aside(self, rule: Rule) -> bool:
        return _policy(self._source, rule.column) == "quarantine"

    def _rules_of(self, frame: pl.DataFrame) -> list[Rule]:
        """All rules, in the order of the report; for every part the same ones."""
        name, source = self._name, self._source
        rules = column_rules(source.columns)
        if source.time is not None and frame.schema[source.time].is_temporal():
            rules.append(not_in_the_future(source.time, self._now, self._result))
        for label, text in source.rules.items():
            # A rule must be true: where a value is missing and the answer is unknown, it is not.
            truth = _truth(frame, text, f"source {name}: rules.{label}").fill_null(False)
            rules.append(Rule("", "rule", f"{label}: {text}", pl.lit(~truth), ("rules", label)))
        if source.key:
            key = pl.struct(source.key).is_duplicated()
            together = " together" if len(source.key) > 1 else ""
            text = f"{', '.join(source.key)}{together} unique, as the key"
            rules.append(Rule("", "key", text, key, ("key",), across=True))
        for foreign in source.foreign_keys:
            other, _, column = foreign.references.partition(".")
            own = as_text(pl.col(foreign.column), frame.schema[foreign.column])
            itself = other == name and column in frame.columns
            if itself:
                known = as_text(pl.col(column), frame.schema[column]).drop_nulls().unique().implode()
                unknown = ~own.is_in(known)
            else:
                unknown = ~own.is_in(self._values(foreign.column, foreign.references).implode())
            text = f"stands in {foreign.references}"
            rules.append(Rule(foreign.column, "foreign_key", text, unknown, ("foreign_keys",), across=itself))
        return rules

    def _values(self, own: str, reference: str) -> pl.Series:
        """Values of the column that a foreign key refers to, as text."""
        if reference not in self._known:
            other, _, column = reference.partition(".")
            schemas = {n: f.collect_schema() for n, f in self._references.items()}
            if other not in schemas or column not in schemas[other]:
                raise DataError(
                    f"source {self._name}: foreign key {own} refers to {reference}, which is not there",
                    remedy=did_you_mean(reference, [f"{n}.{c}" for n, s in schemas.items() for c in s]),
                )
            text = as_text(pl.col(column), schemas[other][column])
            found = self._references[other].select(text.drop_nulls().unique())
            self._known[reference] = found.collect(engine="streaming").to_series()
        return self._known[reference]

    def _count(self, index: int, count: int, rows: pl.DataFrame, raw: pl.DataFrame) -> None:
        """Remember how many rows break a rule, and the first of them."""
        tally = self._tallies.setdefault(index, _Tally())
        tally.count += count
        left = _EXAMPLES - len(tally.examples)
        tally.examples += _examples(self._source, self._rules[index], rows.head(left), raw.head(left))

    def _look_at_time(self, frame: pl.DataFrame) -> None:
        """Remember the newest row."""
        time = self._source.time
        if self._source.fresh_within is None or time is None or not frame.schema[time].is_temporal():
            return
        happened = frame if self._result is None else frame.filter(pl.col(self._result).is_not_null())
        newest = happened[time].cast(pl.Datetime("us")).max()
        if isinstance(newest, datetime) and (self._newest is None or newest > self._newest):
            self._newest = newest

    def _stale(self) -> list[Violation]:
        source, newest = self._source, self._newest
        timed = any(rule.kind == "future" for rule in self._rules)
        if source.fresh_within is None or source.time is None or not timed:
            return []
        if newest is not None and newest >= self._now - parse_duration(source.fresh_within):
            return []
        shown = f"the newest is of {newest:%Y-%m-%d %H:%M}" if newest is not None else "no row has a time"
        # A table as a whole cannot be set aside.
        policy: Policy = "warn" if source.on_violation == "warn" else "fail"
        rule = f"newest row not older than {source.fresh_within} when the data was read"
        return [Violation(self._name, source.time, rule, policy, 1, (shown,), ("fresh_within",))]


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


def _scope(frame: pl.DataFrame, name: str, source: SourceSpec) -> pl.Series:
    if source.where is None:
        return pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True)
    return _truth(frame, source.where, f"source {name}: where").fill_null(False)


def _evaluate(frame: pl.DataFrame, text: str, what: str) -> pl.Series:
    try:
        series = frame.select(compile_expression(text).alias("x")).to_series()
    except (pl.exceptions.PolarsError, UsageError) as error:
        raise DataError(f"{what} {text!r} cannot be evaluated: {str(error).splitlines()[0]}") from error
    # A constant stands for every row.
    return series.new_from_index(0, frame.height) if series.len() == 1 != frame.height else series


def _truth(frame: pl.DataFrame, text: str, what: str) -> pl.Series:
    series = _evaluate(frame, text, what)
    if series.dtype not in (pl.Boolean, pl.Null):
        raise DataError(
            f"{what} {text!r} is not true or false but {series.dtype}", remedy="Write a comparison."
        )
    return series.cast(pl.Boolean)


def _policy(source: SourceSpec, column: str) -> Policy:
    own = source.columns[column].on_violation if column in source.columns else None
    return own or source.on_violation


def _examples(source: SourceSpec, rule: Rule, rows: pl.DataFrame, raw: pl.DataFrame) -> list[str]:
    """Rows that break a rule, in words: number and value as it stood in the source."""
    numbers = rows[ROW_NUMBER].to_list()
    spec = source.columns.get(rule.column)
    if rule.kind == "missing" or not rule.column:
        return [f"row {n}" for n in numbers]
    if spec is not None and spec.sensitivity == "personal":
        return [f"row {n}: (personal)" for n in numbers]
    values = (raw if rule.column in raw.columns else rows)[rule.column].to_list()
    return [f"row {n}: {_short(v)}" for n, v in zip(numbers, values, strict=True)]


def _short(value: object) -> str:
    text = str(value) if isinstance(value, datetime) else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _reason(aside: Sequence[tuple[pl.Expr, Rule]]) -> pl.Expr:
    """Text per row: the rules under quarantine that it broke; empty for a good row."""
    texts = [
        pl.when(broken).then(pl.lit(f"{rule.column}: {rule.text}" if rule.column else rule.text))
        for broken, rule in aside
    ]
    return pl.concat_str(texts, separator="; ", ignore_nulls=True) if texts else pl.lit("")
