"""Where the data comes from, what one observation is, and what is predicted."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from charter.core.quantity import parse_duration
from charter.spec.types.words import (
    Category,
    Column,
    DurationText,
    Expression,
    Moment,
    Name,
    Part,
    Sentence,
    Slug,
)

ColumnType = Literal["integer", "float", "boolean", "category", "text", "date", "datetime"]
Sensitivity = Literal["public", "internal", "personal", "protected"]
Policy = Literal["fail", "quarantine", "warn"]


class ColumnSpec(Part):
    """The contract of one column."""

    type: ColumnType
    format: str | None = None
    """How a date or datetime is written in the source, in strptime's notation, for example ``%m/%d/%Y %H:%M``."""
    unit: str | None = None
    min: float | date | None = None
    max: float | date | None = None
    values: tuple[Category, ...] | None = None
    """The allowed categories."""
    nullable: bool = False
    unique: bool = False
    sensitivity: Sensitivity = "internal"
    on_violation: Policy | None = None
    """Overrides the source's policy."""
    description: Sentence | None = None


class ForeignKey(Part):
    """Values of ``column`` must stand in another source's column."""

    column: Column
    references: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\..+$")]
    """Whose values there are, such as ``customers.id``."""


class SourceSpec(Part):
    """One table: where it is, how it is cleaned, and its contract.

    Order: read, rename, blank ``null_values``, drop duplicates, cast by contract, derive, keep the rows where ``where``
    holds, check the contract.
    """

    dataset: Slug | None = None
    """A set of the catalogue (``charter data list``)."""
    uri: str | None = None
    """A file: local path (relative to the specification), ``s3://``, ``https://``, ..."""
    format: Literal["csv", "parquet", "jsonl", "arrow"] | None = None
    """Taken from the name's ending when left out."""
    sql: str | None = None
    """A query; needs ``url``."""
    url: str | None = None
    """SQLAlchemy address; ``${NAME}`` is taken from the environment, so that no secret stands in the file."""

    rename: dict[Column, Name] = {}
    row_number: Column | None = None
    """New column with the number of each row, from 1: a key for a table that has none. It holds only as long as rows
    are appended and never reordered."""
    null_values: tuple[Category, ...] | None = None
    """How the source writes a missing number, truth value or moment, such as ``[NA, null]``; nothing at all always is
    one. In categories and texts such a word is a value like any other."""
    duplicates: Literal["keep", "drop", "fail"] = "keep"
    """Rows that are identical in every column."""
    columns: dict[Column, ColumnSpec]
    """Columns that are not named here are not read. ``derive`` adds to them."""
    derive: dict[Name, Expression] = {}
    """New columns, each an expression over the columns and the derived ones before it."""
    where: Expression | None = None
    """Rows to keep. Rows filtered here are out of scope, not in violation."""
    rules: dict[Name, Expression] = {}
    """Cross-column rules: each must be true for every row."""
    key: tuple[Column, ...] = ()
    """Columns that identify a row; checked to be unique."""
    foreign_keys: tuple[ForeignKey, ...] = ()
    time: Column | None = None
    """When the row became known; needed for windows."""
    fresh_within: DurationText | None = None
    """The newest row must not be older than this when the data is read."""
    on_violation: Policy = "fail"
    consent: Sentence | None = None
    """The legal basis for using this source."""
    description: Sentence | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> SourceSpec:
        origins = [self.dataset, self.uri, self.sql]
        if sum(o is not None for o in origins) != 1:
            raise ValueError("needs exactly one origin: 'dataset', 'uri', or 'sql' with 'url'")
        if (self.sql is None) != (self.url is None):
            raise ValueError("'sql' and 'url' go together")
        return self


class Cutoffs(Part):
    """Moments at which every entity of the population is observed."""

    first: Moment
    """Where it follows the data, moved to the beginning of its week, month or quarter, as ``every`` says."""
    last: Moment
    """The last cut-off is the last one up to here."""
    every: Literal["day", "week", "month", "quarter"] = "month"


class Population(Part):
    """Which entities are observed at a cut-off: those whose events of the last ``over`` satisfy ``having``."""

    source: Name
    over: DurationText
    where: Expression | None = None
    """Events that count."""
    having: Expression = "COUNT(*) > 0"


Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


class Observations(Part):
    """One row per prediction: the rows of a source, entities at cut-offs, or series and the periods ahead of them.

    Rows: ``source`` and ``key``; ``time`` names the moment from which nothing may be known (optional).
    Entities: ``entity`` (a column of the population's source), ``cutoffs`` and ``population``.
    Series: ``source``, ``series``, ``time``, ``every`` and ``horizon``; each row of the source is one period of one
    series, and an observation is a series, an origin (``as_of``, the first period that is not known) and a ``step``.
    """

    source: Name | None = None
    key: tuple[Column, ...] = ()
    time: Column | None = None
    """Of series: when a row's period begins."""
    entity: Column | None = None
    cutoffs: Cutoffs | None = None
    population: Population | None = None
    series: tuple[Column, ...] = ()
    """Columns that together name a series, such as ``[store, product]``."""
    every: Literal["day", "week", "month"] | None = None
    """How long a period is."""
    starts_on: Weekday | None = None
    """First day of a week; monday unless stated."""
    horizon: Annotated[int, Field(ge=1, le=400)] | None = None
    """How many periods ahead are forecast: steps 1 to ``horizon``."""
    gap: Annotated[int, Field(ge=0, le=100)] = 0
    """Periods between the last one that is known and the first that is forecast, for orders that take time."""
    known_ahead: tuple[Column, ...] = ()
    """Columns that are known for the period that is forecast: prices, promotions. No other column of the source is
    read from the future."""
    attributes: dict[Name, Column] = {}
    """Sources with one row for each value of a column of ``series``, such as ``{stores: store}``; their columns are
    known for every period."""
    missing: Literal["leave", "zero", "last", "fail"] = "leave"
    """What a period without a row is: not known (``leave``), no sales (``zero``), as before (``last``), or a fault."""

    @model_validator(mode="after")
    def _series_whole(self) -> Observations:
        if not self.series:
            alone = {name: getattr(self, name) for name in ("every", "starts_on", "horizon")}
            named = [name for name, value in alone.items() if value is not None]
            named += [name for name in ("known_ahead", "attributes") if getattr(self, name)]
            if named:
                raise ValueError(f"'{named[0]}' is for series: name their columns in 'series'")
            return self
        for name in ("source", "time", "every", "horizon"):
            if getattr(self, name) is None:
                raise ValueError(f"observations of 'series' need '{name}'")
        if self.key:
            raise ValueError("'series' and 'time' are the key; leave 'key' out")
        if self.starts_on is not None and self.every != "week":
            raise ValueError("'starts_on' is for 'every: week'")
        return self

    @model_validator(mode="after")
    def _one_kind(self) -> Observations:
        rows = self.source is not None
        entities = [self.entity, self.cutoffs, self.population]
        if rows and any(e is not None for e in entities):
            raise ValueError(
                "'source' (one row per observation) and 'entity' (entities at cut-offs) exclude each other"
            )
        if not rows and any(e is None for e in entities):
            raise ValueError(
                "needs either 'source' and 'key', or all of 'entity', 'cutoffs' and 'population'"
            )
        if rows and not self.key and not self.series:
            raise ValueError("needs 'key': the columns that identify a row")
        return self


class Label(Part):
    """What is predicted: a column, or what happens to the entity afterwards."""

    name: Name = "label"
    column: Column | None = None
    positive: Category | None = None
    """Binary tasks, with ``column``: the value that counts as positive."""
    source: Name | None = None
    over_next: DurationText | None = None
    positive_when: Expression | None = None
    """With ``source``: an aggregate over the entity's events in [cut-off, cut-off + over_next), as ``COUNT(*) = 0``."""
    where: Expression | None = None
    """With ``source``: events that count."""
    known_after: DurationText | None = None
    """How long after the prediction the label is known. With ``source`` it is ``over_next`` unless stated."""

    @model_validator(mode="after")
    def _one_kind(self) -> Label:
        events = [self.source, self.over_next, self.positive_when]
        if self.column is not None and any(e is not None for e in events):
            raise ValueError("'column' and 'source' exclude each other")
        if self.column is None and any(e is None for e in events):
            raise ValueError("needs either 'column', or all of 'source', 'over_next' and 'positive_when'")
        return self

    @property
    def wait_text(self) -> str | None:
        """How long after the prediction the label is known, as the specification says it; None where it does not."""
        return self.known_after or self.over_next

    @property
    def wait(self) -> timedelta:
        """How long after the prediction the label is known; zero where the specification does not say."""
        return timedelta(0) if self.wait_text is None else parse_duration(self.wait_text)


class DataSpec(Part):
    """Where the data comes from, what one observation is, and what is to be predicted."""

    sources: dict[Name, SourceSpec] = Field(min_length=1)
    observations: Observations
    label: Label

    @property
    def protected(self) -> tuple[Column, ...]:
        """Columns of all sources that are declared as protected."""
        declared = ((name, c) for source in self.sources.values() for name, c in source.columns.items())
        return tuple(name for name, column in declared if column.sensitivity == "protected")
