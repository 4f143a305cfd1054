"""From the bytes of a request to rows, with errors that name field, value and rule.

Two readers agree: a decoder that msgspec compiles from the signature reads good requests in microseconds; whatever it
refuses goes to `charter.serve.explain`, which knows every leniency (``3.0`` for an integer) and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import polars as pl

from charter.serve.explain import read_rows
from charter.serve.problem import MAX_FAULTS, Fault, Refused, refuse
from charter.serve.strict import may_repeat, refuse_repeated
from charter.serve.types import Input, Scalar, Signature
from charter.serve.values import DTYPES, INT64, category_text, limits, moment

if TYPE_CHECKING:
    from charter.serve.series import SeriesPast

Row = tuple[Any, ...]
_FEW_ROWS = 16
"""So few rows Polars takes over in half the time when their values have names."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Rows of a request in the order of the signature; ``single`` when the request was one object."""

    rows: list[Row]
    single: bool


class Decoder:
    """Reads requests of one model.

    Parameters
    ----------
    max_rows
        A longer list is refused with 413.
    series
        Of a forecast: refuses periods that it does not forecast, before they stand beside other clients' rows.
    """

    def __init__(
        self, signature: Signature, *, max_rows: int = 10_000, series: SeriesPast | None = None
    ) -> None:
        self._series = series
        self._inputs = signature.inputs
        self._max_rows = max_rows
        self._schema = {i.name: DTYPES[i.type] for i in self._inputs}
        names = [f"f{i}" for i in range(len(self._inputs))]
        members: list[Any] = []
        for name, field in zip(names, self._inputs, strict=True):
            kind = _fast_type(field)
            members.append((name, kind | None, None) if field.nullable else (name, kind))
        record = msgspec.defstruct(
            "Row",
            members,
            kw_only=True,
            gc=False,
            forbid_unknown_fields=True,
            rename=dict(zip(names, (i.name for i in self._inputs), strict=True)),
        )
        self._one = msgspec.json.Decoder(record)
        self._many = msgspec.json.Decoder(list[record])  # type: ignore[valid-type]
        self._nullable = any(i.nullable for i in self._inputs)
        self._worded = [
            k for k, i in enumerate(self._inputs) if i.type not in ("integer", "float", "boolean")
        ]
        self._texts = [(k, i.nullable) for k, i in enumerate(self._inputs) if i.type == "category"]
        self._moments = [
            (k, i.type, *limits(i.min, i.max, i.type))
            for k, i in enumerate(self._inputs)
            if i.type in ("date", "datetime")
        ]

    def decode(self, body: bytes) -> Decoded:
        """Read an object or a list of objects.

        Raises
        ------
        Refused
            400 for what is no JSON, 413 for too many rows, 422 for faults of fields.
        """
        single = body.lstrip(b" \t\r\n")[:1] != b"["
        try:
            records: Any = [self._one.decode(body)] if single else self._many.decode(body)
            if not records or len(records) > self._max_rows:
                return Decoded(read_rows(body, self._inputs, max_rows=self._max_rows), single)
            read = [msgspec.structs.astuple(record) for record in records]
            if may_repeat(body, read, self._worded, nullable=self._nullable):
                refuse_repeated(body)
            rows = [self._finish(row) for row in read]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, OverflowError):
            rows = read_rows(body, self._inputs, max_rows=self._max_rows)
        if self._series is not None:
            self._refuse_amiss(self._series, rows, single)
        return Decoded(rows, single)

    def _refuse_amiss(self, series: SeriesPast, rows: Sequence[Row], single: bool) -> None:
        found = list(islice(series.amiss(series.fill(self.frame(rows))), MAX_FAULTS))
        if found:
            faults = [
                Fault(
                    one.field if single else f"rows[{one.row}].{one.field}",
                    one.value,
                    one.rule,
                    one.message,
                )
                for one in found
            ]
            raise Refused(422, faults, remedy=found[0].remedy)

    def _finish(self, row: Row) -> Row:
        if not self._texts and not self._moments:
            return row
        values = list(row)
        for k, nullable in self._texts:
            values[k] = category_text(values[k])
            if values[k] is None and not nullable:
                raise ValueError(self._inputs[k].name)
        for k, kind, low, high in self._moments:
            if values[k] is not None:
                values[k] = moment(values[k], kind)
                if (low is not None and values[k] < low) or (high is not None and values[k] > high):
                    raise ValueError(self._inputs[k].name)
        return tuple(values)

    def frame(self, rows: Sequence[Row]) -> pl.DataFrame:
        """Rows to a frame, one column per input with the dtype of `DTYPES`."""
        if len(rows) <= _FEW_ROWS:
            names = self._schema.keys()
            return pl.from_dicts([dict(zip(names, row, strict=True)) for row in rows], schema=self._schema)
        return pl.DataFrame(rows, schema=self._schema, orient="row")

    def read(self, body: bytes) -> pl.DataFrame:
        """Decode and build the frame at once."""
        return self.frame(self.decode(body).rows)


def example(signature: Signature) -> dict[str, Scalar]:
    """Build a request that is valid, for documentation and for warming up."""
    return {i.name: i.example for i in signature.inputs if i.example is not None or not i.nullable}


def _fast_type(field: Input) -> Any:
    match field.type:
        case "integer":
            low, high = _bound(field.min, INT64[0], up=True), _bound(field.max, INT64[1], up=False)
            return Annotated[int, msgspec.Meta(ge=low, le=high)]
        case "float":
            return Annotated[float, msgspec.Meta(ge=_number(field.min), le=_number(field.max))]
        case "boolean":
            return bool
        case "category" if field.values:
            numbers = tuple(int(v) for v in field.values if _is_whole(v))
            return Literal[(*field.values, *numbers)]
        case "category":
            return str | bool | int
        case "text" | "date" | "datetime":
            return str
        case other:
            raise refuse(422, "type", f"{field.name} has the unknown type {other!r}", field=field.name)


def _number(limit: float | str | None) -> float | None:
    return None if limit is None else float(limit)


def _bound(limit: float | str | None, default: int, *, up: bool) -> int:
    if limit is None:
        return default
    number = float(limit)
    whole = int(-(-number // 1)) if up else int(number // 1)
    return min(max(whole, INT64[0]), INT64[1])


def _is_whole(text: str) -> bool:
    try:
        return str(int(text)) == text and INT64[0] <= int(text) <= INT64[1]
    except ValueError:
        return False
