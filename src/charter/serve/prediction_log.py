"""Rows of the prediction log: what is kept of each answer, column by column. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import chain

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.registry.traffic import SHADOW
from charter.serve.observe import Dealt, Ticket
from charter.serve.policy import LogPolicy
from charter.serve.scored import Scored
from charter.serve.types import AS_OF, Signature
from charter.serve.values import DTYPES

INPUT = "input_"
"""Stands before the names of inputs, so that they cannot be mistaken for the log's own columns."""
SECRET_BYTES = 32
_HASH_BYTES = 16
OWN: dict[str, pl.DataType] = {
    "id": pl.String(),
    "row": pl.UInt32(),
    "time": pl.Datetime("us"),
    "model": pl.String(),
    "version": pl.String(),
    "package": pl.String(),
    "route": pl.String(),
    "latency_us": pl.Int64(),
    "score": pl.Float64(),
    "decision": pl.String(),
    "propensity": pl.Float64(),
    "band": pl.String(),
    "fallback": pl.Boolean(),
    "warnings": pl.List(pl.String()),
    "stage": pl.String(),
    "arm": pl.String(),
}
"""Columns that every log has."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A scored micro-batch on its way into the log.

    Attributes
    ----------
    at_us
        When it was scored, microseconds since 1970.
    ended
        The same moment by `time.perf_counter`, comparable with the tickets'.
    """

    tickets: Sequence[Ticket]
    scored: Scored
    at_us: int
    ended: float

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return len(self.scored)


@dataclass(frozen=True, eq=False)
class LogTable:
    """The log of one version: what its rows hold.

    Columns: ``id`` (of the request), ``row`` (within it), ``time`` (when scored, naive UTC), ``model``,
    ``version``, ``package`` (digest), ``route``, ``latency_us`` (from the request's arrival until scored; of a
    candidate that only sees requests, of scoring alone, null where that was not measured), ``score`` (null where a
    rule answered without one), ``scores`` (by class, only where there are several), ``lower`` and ``upper`` (of the
    interval, only of forecasts), ``decision``, ``propensity`` (probability with which it was made; null where the
    model leaves none to chance), ``band``, ``fallback``, ``warnings``, ``stage`` and ``arm`` (of what is tried, see
    `charter.registry.traffic.Traffic`; the arm is ``shadow`` where nobody was given the answer, both are null while
    nothing is tried), ``entity`` and ``as_of`` (only where the model is about entities), and ``input_<name>`` for
    each input as served, typed.
    """

    model: str
    version: str
    package: str
    signature: Signature
    multiclass: bool
    policy: LogPolicy
    secret: bytes

    @property
    def schema(self) -> pl.Schema:
        """Names and types of the columns, in order."""
        schema = dict(OWN)
        if self.multiclass:
            schema["scores"] = pl.List(pl.Float64())
        if self.signature.series is not None:
            schema["lower"] = schema["upper"] = pl.Float64()
        entity = self.signature.entity
        types = {i.name: DTYPES[i.type] for i in self.signature.inputs}
        personal = self._personal
        if entity is not None:
            schema[AS_OF] = pl.Datetime("us")
            if entity.column not in personal or self.policy.personal != "drop":
                schema["entity"] = pl.String()
        if self.policy.inputs:
            for name, dtype in types.items():
                if name not in personal:
                    schema[INPUT + name] = dtype
                elif self.policy.personal == "hash":
                    schema[INPUT + name] = pl.String()
        return pl.Schema(schema)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(self.schema)

    @cached_property
    def _personal(self) -> frozenset[str]:
        """Inputs that must not be kept as they are."""
        if self.policy.personal == "keep":
            return frozenset()
        return frozenset(i.name for i in self.signature.inputs if i.sensitivity == "personal")

    def frame(self, batches: Sequence[Batch]) -> pl.DataFrame:
        """Rows of micro-batches with `schema`."""
        tickets = [t for b in batches for t in b.tickets]
        counts = np.fromiter((t.rows for t in tickets), np.int64, len(tickets))
        of_ticket = np.repeat(np.arange(len(tickets)), counts)
        of_batch = np.repeat(np.arange(len(batches)), [b.rows for b in batches])
        starts = np.repeat(np.cumsum(counts) - counts, counts)
        ended = np.repeat([b.ended for b in batches], [len(b.tickets) for b in batches])
        began = np.fromiter((t.began for t in tickets), np.float64, len(tickets))
        latency_us = (ended - began) * 1e6
        one_each = len(of_ticket) == len(tickets)
        ids, routes = pl.Series([t.id for t in tickets]), pl.Series([t.route for t in tickets])
        scored = [b.scored for b in batches]
        columns = [
            (ids if one_each else ids.gather(of_ticket)).alias("id"),
            pl.Series("row", _numbers(tickets, np.arange(len(of_ticket)) - starts)),
            pl.Series("time", np.array([b.at_us for b in batches])[of_batch]).cast(pl.Datetime("us")),
            (routes if one_each else routes.gather(of_ticket)).alias("route"),
            pl.Series("latency_us", latency_us[of_ticket], nan_to_null=True).cast(pl.Int64),
            pl.Series("score", np.concatenate([s.score for s in scored]), nan_to_null=True),
            pl.Series("decision", list(chain.from_iterable(s.decision for s in scored)), dtype=pl.String),
            _propensities(scored),
            pl.Series("band", list(chain.from_iterable(s.band for s in scored)), dtype=pl.String),
            pl.Series("fallback", list(chain.from_iterable(s.fallback for s in scored)), dtype=pl.Boolean),
            self._warnings(scored),
            *_dealt(tickets, counts, scored),
        ]
        if self.multiclass:
            columns.append(_class_scores(scored))
        if self.signature.series is not None:
            columns += _bounds(scored)
        for name, value in (("model", self.model), ("version", self.version), ("package", self.package)):
            columns.append(pl.Series(name, [value]).new_from_index(0, len(of_ticket)))
        frames = [s.inputs for s in scored if s.inputs is not None]
        found = {s.name: s for s in (*columns, *self._inputs(together(frames)))}
        return pl.DataFrame([found[name] for name in self.names])

    def _inputs(self, inputs: pl.DataFrame) -> list[pl.Series]:
        personal, entity = self._personal, self.signature.entity
        kept = {s.name: s for s in inputs.get_columns() if s.name not in personal}
        if self.policy.personal == "hash":
            kept |= {name: pseudonyms(inputs[name], self.secret) for name in personal}
        found = []
        if entity is not None:
            found.append(inputs[AS_OF])
            if entity.column in kept:
                found.append(kept[entity.column].cast(pl.String).alias("entity"))
        if self.policy.inputs:
            found += [series.alias(INPUT + name) for name, series in kept.items()]
        return found

    def _warnings(self, scored: Sequence[Scored]) -> pl.Series:
        if not any(chain.from_iterable(s.warnings for s in scored)):
            nothing = pl.Series("warnings", [[]], dtype=pl.List(pl.String))
            return nothing.new_from_index(0, sum(len(s) for s in scored))
        rows = list(chain.from_iterable(s.warnings for s in scored))
        personal = self._personal
        if personal:  # a warning quotes the value that it is about
            rows = [[_without_value(text, personal) for text in row] if row else row for row in rows]
        return pl.Series("warnings", rows, dtype=pl.List(pl.String))


def together(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Frames one below the other: `pl.concat` asks Polars' threads, which may have to wait for a processor."""
    whole = frames[0].clone()
    for frame in frames[1:]:
        whole.vstack(frame, in_place=True)
    return whole


def pseudonyms(values: pl.Series, secret: bytes) -> pl.Series:
    """Replace values by a keyed hash: equal values give equal text, and nobody without the key can tell the value.

    Parameters
    ----------
    values
        Any plain type; a value is hashed as its text, so the integer 7 and the text ``7`` are one person.
    secret
        Key of `SECRET_BYTES` bytes. BLAKE2b with a key is a message authentication code (RFC 7693), so that guessing
        values (all customer numbers) needs the key.

    Returns
    -------
    32 hexadecimal characters; null stays null.

    Examples
    --------
    >>> a, b, c = pseudonyms(pl.Series([7, 8, 7]), b"k" * 32)
    >>> a == c, a == b, len(a)
    (True, False, 32)
    """
    texts = values.cast(pl.String)
    known = texts.drop_nulls().unique()
    hashed = [blake2b(t.encode(), digest_size=_HASH_BYTES, key=secret).hexdigest() for t in known.to_list()]
    return texts.replace_strict(known, pl.Series(hashed, dtype=pl.String), default=None)


def _without_value(text: str, personal: frozenset[str]) -> str:
    name = text.partition(" = ")[0]
    return f"{name} is not like what training saw" if name in personal else text


def _propensities(scored: Sequence[Scored]) -> pl.Series:
    if all(s.propensity is None for s in scored):
        return pl.Series("propensity", [None], dtype=pl.Float64).new_from_index(0, sum(map(len, scored)))
    parts = [np.full(len(s), np.nan) if s.propensity is None else s.propensity for s in scored]
    return pl.Series("propensity", np.concatenate(parts), nan_to_null=True)


def _numbers(tickets: Sequence[Ticket], counted: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """Number of each row within its request, which may have been split."""
    if any(t.dealt is not None and t.dealt.places is not None for t in tickets):
        counted = np.fromiter(chain.from_iterable(t.numbers for t in tickets), np.int64, len(counted))
    return counted.astype(np.uint32)


def _dealt(
    tickets: Sequence[Ticket], counts: npt.NDArray[np.int64], scored: Sequence[Scored]
) -> tuple[pl.Series, pl.Series]:
    """Stage and arm of each row."""
    if not any(t.dealt is not None for t in tickets):
        nothing = pl.Series("stage", [None], dtype=pl.String).new_from_index(0, int(counts.sum()))
        return nothing, nothing.alias("arm")
    dealt = [t.dealt or _UNDEALT for t in tickets]
    stages = [d.stage or None for d, n in zip(dealt, counts.tolist(), strict=True) for _ in range(n)]
    arms = [(d.arm, d.backed) for d, n in zip(dealt, counts.tolist(), strict=True) for _ in range(n)]
    fallback = chain.from_iterable(s.fallback for s in scored)
    given = [
        SHADOW if backed and failed else arm for (arm, backed), failed in zip(arms, fallback, strict=True)
    ]
    return pl.Series("stage", stages, dtype=pl.String), pl.Series("arm", given, dtype=pl.String)


_UNDEALT = Dealt("")


def _bounds(scored: Sequence[Scored]) -> list[pl.Series]:
    """Ends of the intervals of forecasts."""
    ends = [(np.full(len(s), np.nan),) * 2 if s.bounds is None else s.bounds for s in scored]
    return [
        pl.Series(name, np.concatenate([pair[place] for pair in ends]), nan_to_null=True)
        for place, name in enumerate(("lower", "upper"))
    ]


def _class_scores(scored: Sequence[Scored]) -> pl.Series:
    width = max((s.scores.shape[1] for s in scored if s.scores is not None), default=0)
    parts = [np.full((len(s), width), np.nan) if s.scores is None else s.scores for s in scored]
    return pl.Series("scores", np.concatenate(parts)).cast(pl.List(pl.Float64))
