"""Scoring by the chunk: which rows keep the contract, and what the model says of them. Pure.

A chunk is a frame of raw rows as a file or a table has them. Rows that break the model's contract are set aside with
the reasons, the others go through the one `Scorer`; so a chunk's result depends on its rows and on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from charter.core.errors import DataError
from charter.core.nearest import did_you_mean
from charter.data.contract import Rule, column_rules, conform
from charter.serve.columns import Wish, answer_columns, from_scored
from charter.serve.scorer import Scorer
from charter.serve.types import AS_OF, Input
from charter.spec.types import ColumnSpec

ROW = "row"
"""Column of the row's number in the source, counted from 1 (within a chunk until the chunks are put together)."""
REASONS = "reasons"
_SHOWN = 60
_FAILED_ROWS = 100
CHUNK_ROWS, EXPLAINED_ROWS = 65_536, 8192
"""Rows of a chunk: large enough that Polars works in columns, small enough that a worker stays below 200 MB. Reasons
cost a thousand times a score, so chunks that want them are smaller, and a kill loses less."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a job makes of its rows.

    Attributes
    ----------
    keep
        Columns of the source that stand in the output, under their names there.
    number
        Whether the row's number stands in the output, for sources without a key.
    rank
        Whether each chunk is put in order of falling score.
    as_of
        Moment for rows without one, ISO, naive UTC; models of entities, and forecasts that are not from the newest
        origin.
    rename
        Column of the source to the model's name for it.
    formats
        How dates are written, by the model's name of the column.
    types
        Declared types (numbers, moments, truth values) of kept columns that the source holds as text (CSV), by their
        names there: they are written in these, and a row with a value that is none is rejected.
    """

    keep: tuple[str, ...] = ()
    number: bool = True
    rank: bool = False
    wish: Wish = field(default_factory=Wish)
    as_of: str | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Options:
        """Inverse of `to_json`."""
        return cls(**{**data, "keep": tuple(data["keep"]), "wish": Wish(**data["wish"])})


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of rows; adds up over chunks.

    Attributes
    ----------
    warned
        Scored rows with at least one warning.
    decisions, bands, rejections
        Rows by decision, by band, and by broken rule (a row may break several).
    """

    read: int = 0
    scored: int = 0
    rejected: int = 0
    warned: int = 0
    decisions: Mapping[str, int] = field(default_factory=dict)
    bands: Mapping[str, int] = field(default_factory=dict)
    rejections: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Counts) -> Counts:
        """Add up."""
        return Counts(
            self.read + other.read,
            self.scored + other.scored,
            self.rejected + other.rejected,
            self.warned + other.warned,
            _summed(self.decisions, other.decisions),
            _summed(self.bands, other.bands),
            _summed(self.rejections, other.rejections),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Done:
    """A chunk's result: scored rows, rejected rows with reasons, and their counts."""

    scored: pl.DataFrame
    rejected: pl.DataFrame
    counts: Counts


class Contract:
    """What raw rows must be, by the signature of a model; the same questions as a request is asked.

    Parameters
    ----------
    inputs
        Fields of the signature.
    formats
        How dates are written in the source, in strptime's notation, by column.
    """

    def __init__(self, inputs: Sequence[Input], formats: Mapping[str, str] | None = None) -> None:
        self.inputs = tuple(inputs)
        self._columns = {i.name: _column(i, (formats or {}).get(i.name)) for i in inputs}
        self._rules = column_rules(self._columns, across_rows=False)
        self._personal = frozenset(i.name for i in inputs if i.sensitivity == "personal")

    def refuse(self, schema: Mapping[str, pl.DataType]) -> None:
        """Refuse a source whose columns can never be what the model reads.

        Raises
        ------
        DataError
            For a required column that is not there, or one of a type that no value of the declared one has.
        """
        for asked in self.inputs:
            if asked.name not in schema:
                if not asked.nullable:
                    raise DataError(
                        f"column {asked.name!r} is not in the source, and the model needs it ({asked.type})",
                        remedy=did_you_mean(asked.name, schema).capitalize(),
                    )
                continue
            dtype = schema[asked.name]
            moment = asked.type in ("date", "datetime")
            hopeless = dtype.is_nested() or isinstance(dtype, pl.Binary | pl.Object)
            hopeless |= dtype.is_temporal() and asked.type in ("integer", "float", "boolean")
            hopeless |= moment and (dtype.is_float() or dtype == pl.Boolean)
            if hopeless:
                raise DataError(
                    f"column {asked.name!r} is {dtype} in the source; the model reads it as {asked.type}",
                    remedy="Cast it where the source is written.",
                )

    def judge(self, raw: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series | None, Mapping[str, int]]:
        """Read raw rows as the model's inputs.

        Parameters
        ----------
        raw
            n rows under the model's names; nullable columns may be missing.

        Returns
        -------
        The n rows in the signature's types; per row the list of reasons why it breaks the contract, or None when
        none does; and how many rows break each rule.
        """
        absent = [pl.lit(None).alias(n) for n in self._columns if n not in raw.columns]
        raw = raw.select(*(n for n in self._columns if n in raw.columns), *absent).select(*self._columns)
        frame = conform(raw, self._columns)
        inputs = frame.select(*self._columns)
        # One pass that only asks whether any row breaks a rule: nearly always none does.
        hit = frame.select(r.broken.any().alias(str(i)) for i, r in enumerate(self._rules)).row(0)
        broken = [r for r, any_row in zip(self._rules, hit, strict=True) if any_row]
        if not broken:
            return inputs, None, {}
        masks = frame.select(r.broken.fill_null(False).alias(str(i)) for i, r in enumerate(broken))
        told = pl.concat([raw, masks], how="horizontal").select(
            pl.concat_list(pl.when(pl.col(str(i))).then(self._told(r)) for i, r in enumerate(broken))
            .list.drop_nulls()
            .alias(REASONS)
        )
        counts = dict(zip((f"{r.column}: {r.text}" for r in broken), masks.sum().row(0), strict=True))
        return inputs, told.to_series(), counts

    def _told(self, rule: Rule) -> pl.Expr:
        """Write a reason in words; a personal value is not shown."""
        if rule.kind == "missing":
            return pl.lit(f"{rule.column} is missing")
        must = f"must be {'of type ' if rule.kind == 'type' else ''}{rule.text}"
        if rule.column in self._personal:
            return pl.lit(f"{rule.column} {must}")
        value = pl.col(rule.column).cast(pl.String, strict=False).str.slice(0, _SHOWN).fill_null("null")
        return pl.concat_str(pl.lit(f"{rule.column} = "), value, pl.lit(f": {must}"))


def score_chunk(scorer: Scorer, contract: Contract, raw: pl.DataFrame, options: Options) -> Done:
    """Score the rows of a chunk.

    Parameters
    ----------
    raw
        n rows as the source has them, in its order.

    Returns
    -------
    Scored rows: the kept columns, ``row`` (place in the chunk from 1) where asked, `answer_columns`; in the order
    of the source, or of falling score with ties in the order of the source. Rejected rows: ``row``, the kept
    columns, ``reasons``.
    """
    named = raw.rename({old: new for old, new in options.rename.items() if old in raw.columns})
    inputs, reasons, rejections = contract.judge(named)
    series = scorer.series
    inputs = series.fill(inputs, options.as_of) if series is not None else _with_moment(inputs, options)
    kept = raw.select(pl.int_range(1, raw.height + 1, dtype=pl.UInt64).alias(ROW), *options.keep)
    typed, unread, more = _typed(kept, options)
    if unread is not None:
        told = unread if reasons is None else reasons
        reasons = pl.select(pl.when(told.list.len() > 0).then(told).otherwise(unread)).to_series()
        rejections = {**more, **rejections}
    # Rejected rows are shown as they came.
    rejected = kept.clear().with_columns(pl.lit(None, dtype=pl.List(pl.String)).alias(REASONS))
    if reasons is not None:
        bad = reasons.list.len() > 0
        rejected = kept.with_columns(reasons.alias(REASONS)).filter(bad)
        kept, typed, inputs = kept.filter(~bad), typed.filter(~bad), inputs.filter(~bad)
    answers, warned, failed = _answers(scorer, inputs, options.wish)
    if failed:
        bad = pl.Series([i in failed for i in range(kept.height)], dtype=pl.Boolean)
        why = pl.Series(REASONS, [[text] for text in failed.values()], dtype=pl.List(pl.String))
        rejected = pl.concat([rejected, kept.filter(bad).with_columns(why)]).sort(ROW)
        typed = typed.filter(~bad)
        rejections = {**rejections, "the model": len(failed)}
    scored = pl.concat([typed, answers], how="horizontal")
    if options.rank:
        first = "forecast" if "forecast" in scored.columns else "score"
        scored = scored.sort(first, descending=True, nulls_last=True, maintain_order=True)
    if not options.number:
        scored = scored.drop(ROW)
    counts = Counts(
        raw.height,
        scored.height,
        rejected.height,
        warned,
        _by(scored, "decision"),
        _by(scored, "band") if options.wish.bands else {},
        rejections,
    )
    return Done(scored, rejected, counts)


def _typed(kept: pl.DataFrame, options: Options) -> tuple[pl.DataFrame, pl.Series | None, Mapping[str, int]]:
    """The kept columns as the contract types them, and per row why they cannot be, as `Contract.judge` says it."""
    if not options.types:
        return kept, None, {}
    original = {new: old for old, new in options.rename.items()}
    formats = {original.get(name, name): text for name, text in options.formats.items()}
    # Whether a value may be shown is not known here, so none is.
    fields = [
        Input(name, type_, nullable=True, sensitivity="personal") for name, type_ in options.types.items()
    ]
    typed, reasons, broken = Contract(fields, formats).judge(kept)
    return kept.with_columns(typed), reasons, broken


def _with_moment(inputs: pl.DataFrame, options: Options) -> pl.DataFrame:
    if options.as_of is None or AS_OF not in inputs.columns:
        return inputs
    moment = pl.lit(datetime.fromisoformat(options.as_of), dtype=pl.Datetime("us"))
    return inputs.with_columns(pl.col(AS_OF).fill_null(moment))


def _answers(scorer: Scorer, inputs: pl.DataFrame, wish: Wish) -> tuple[pl.DataFrame, int, dict[int, str]]:
    """Answers of the rows that could be scored, rows with a warning, and why the others could not, by place."""
    try:
        return *answer_columns(scorer, inputs, wish), {}
    # As online, one row that breaks a model must not take the others with it; a panic of Polars is no Exception.
    except (Exception, pl.exceptions.PanicException) as error:
        if not inputs.height:
            raise
        if scorer.rules.fallback is not None:
            scored = scorer.run(inputs, soft=True)
            return from_scored(scored, wish), sum(map(bool, scored.warnings)), {}
        if inputs.height == 1:
            nothing = answer_columns(scorer, inputs.clear(), wish)[0]
            return nothing, 0, {0: f"the model failed ({type(error).__name__})"}
        half = inputs.height // 2
        first, warned, failed = _answers(scorer, inputs[:half], wish)
        _refuse_broken(failed, error)
        second, more, too = _answers(scorer, inputs[half:], wish)
        failed |= {half + i: text for i, text in too.items()}
        _refuse_broken(failed, error)
        return pl.concat([first, second]), warned + more, failed


def _refuse_broken(failed: Mapping[int, str], error: BaseException) -> None:
    """Rows that a model fails on are rejected; a model that fails on rows by the hundred is not fit for the source."""
    if len(failed) > _FAILED_ROWS:
        raise DataError(
            f"the model fails on row after row: {type(error).__name__} {str(error).splitlines()[:1]}",
            remedy="Declare serve.fallback, or see what is unusual about the source.",
        ) from error


def _column(asked: Input, format_: str | None) -> ColumnSpec:
    return ColumnSpec.model_validate(
        {
            "type": asked.type,
            "nullable": asked.nullable,
            "min": asked.min,
            "max": asked.max,
            "values": asked.values,
            "format": format_,
        }
    )


def _by(frame: pl.DataFrame, column: str) -> dict[str, int]:
    if column not in frame.columns:
        return {}
    counted = frame[column].drop_nulls().value_counts()
    return dict(sorted(counted.iter_rows()))


def _summed(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    return {name: a.get(name, 0) + b.get(name, 0) for name in sorted({*a, *b})}


def total(parts: Iterable[Counts]) -> Counts:
    """Add up the counts of chunks."""
    found = Counts()
    for part in parts:
        found = found + part
    return found
