"""Exploring a table: every part by itself, so that an odd column never stops the report."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import polars as pl

from charter.core.errors import UsageError
from charter.core.nearest import advice
from charter.data.eda import findings
from charter.data.eda.associations import associate
from charter.data.eda.describe import describe
from charter.data.eda.hypotheses import test_columns
from charter.data.eda.prepare import Prepared, prepare
from charter.data.eda.target import balance, class_codes, leak, view_target
from charter.data.eda.times import time_findings, view_time
from charter.data.eda.types import ColumnView, Exploration, Finding, TargetView, TimeView
from charter.data.profile import Profile, describable, profile

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Whole:
    """What was found out about all rows of a table of which only some can be looked at together."""

    profile: Profile
    duplicate_rows: int


def explore(
    frame: pl.DataFrame, *, target: str | None = None, time: str | None = None, whole: Whole | None = None
) -> Exploration:
    """Describe a table and say what is odd about it.

    Parameters
    ----------
    frame
        The rows, or evenly spaced ones of very many.
    target
        The column to be predicted, for its balance, tests against it, and leaks.
    time
        The column with the moment of a row; by default the only date or datetime that there is.
    whole
        Profile and duplicates of all rows, where ``frame`` is only some of them.

    Raises
    ------
    UsageError
        When ``target`` or ``time`` is not a column, or ``time`` is no date or datetime.

    Examples
    --------
    >>> rows = pl.DataFrame({"x": [1.0, 2.0, 2.0, 50.0], "same": ["a"] * 4})
    >>> [f.words for f in explore(rows).findings]
    ['same has the same value in all rows that have one.', '1 rows (25.00%) repeat an earlier row in every column.']
    """
    for name in (target, time):
        if name is not None and name not in frame.columns:
            raise UsageError(f"there is no column {name!r}", remedy=advice(name, frame.columns))
    left_out = {n: f"{d} is not described" for n, d in frame.schema.items() if not describable(d)}
    frame = frame.drop(list(left_out))
    if time is None:
        moments = [n for n, d in frame.schema.items() if d in (pl.Date, pl.Datetime)]
        time = moments[0] if len(moments) == 1 else None
    elif frame.schema[time] not in (pl.Date, pl.Datetime):
        frame = frame.with_columns(_moments(frame[time]))
    return _Explorer(frame, target, time, whole, left_out).run()


NOTATIONS = ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%m/%d/%Y", "%m/%d/%Y %H:%M",
             "%d/%m/%Y", "%d/%m/%Y %H:%M", "%d.%m.%Y", "%d.%m.%Y %H:%M", "%Y%m%d")  # fmt: skip
"""How dates and moments are written that are text."""


def _moments(series: pl.Series) -> pl.Series:
    """Read dates that are written as text, in the first notation that all of them fit."""
    if series.dtype == pl.String:
        for notation in NOTATIONS:
            read = series.str.to_datetime(notation, strict=False, time_unit="us")
            if read.null_count() == series.null_count() < series.len():
                return read
    raise UsageError(
        f"{series.name} is {series.dtype}, which no date or datetime can be read from",
        remedy="Name another column, or none.",
    )


class _Explorer:
    def __init__(
        self,
        frame: pl.DataFrame,
        target: str | None,
        time: str | None,
        whole: Whole | None,
        left_out: dict[str, str],
    ) -> None:
        self.frame, self.target, self.time, self.left_out = frame, target, time, left_out
        self.whole = whole or Whole(profile(frame), _duplicates(frame))
        self.found: list[Finding] = []

    def run(self) -> Exploration:
        rows = self.whole.profile.rows
        parts = self._columns()
        views = [view for _, view in parts]
        prepared = [one for one, _ in parts]
        self._add(
            lambda: findings.of_table(self.whole.profile, self.whole.duplicate_rows, views), "the table"
        )
        view, coded = self._target(prepared)
        pairs = self._try(lambda: associate(prepared, self.target), "correlations") or ()
        self._add(lambda: findings.of_pairs(pairs, self.target), "correlations")
        tests = self._try(lambda: test_columns(prepared, coded, view), "tests") or ()
        self._add(lambda: findings.of_tests(tests, self.target), "tests")
        moments = self._time()
        return Exploration(
            rows,
            self.frame.height,
            self.whole.duplicate_rows,
            self.whole.profile,
            tuple(views),
            pairs,
            tests,
            view,
            moments,
            tuple(findings.grouped(self.found)),
            self.left_out,
        )

    def _columns(self) -> list[tuple[Prepared, ColumnView]]:
        def one(series: pl.Series) -> tuple[Prepared, ColumnView] | None:
            summary = self.whole.profile.columns[series.name]

            def work() -> tuple[Prepared, ColumnView]:
                ready = prepare(series, summary.kind)
                return ready, describe(series, ready, summary)

            return self._try(work, series.name)

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # sorting lets other threads run
            found = [part for part in pool.map(one, self.frame.get_columns()) if part is not None]
        for ready, view in found:
            series, summary = self.frame[ready.name], self.whole.profile.columns[ready.name]
            work = partial(findings.of_column, series, view, summary, self.whole.profile.rows)
            self._add(work, ready.name)
        return found

    def _target(self, prepared: Sequence[Prepared]) -> tuple[TargetView | None, Prepared | None]:
        target = self.target
        if target is None or target not in self.whole.profile.columns:
            return None, None
        series = self.frame[target]
        view = self._try(lambda: view_target(series, self.whole.profile.columns[target]), target)
        if view is None:
            return None, None
        self._add(lambda: balance(view), target)
        for one in prepared if len(view.classes) != 1 else ():
            if one.name != target and one.kind != "text":
                self._add(partial(leak, self.frame, view, one.name), f"leakage of {one.name}")
        if view.kind == "number":
            return view, next((p for p in prepared if p.name == target), None)
        return view, self._try(lambda: class_codes(series, view), target)

    def _time(self) -> TimeView | None:
        name = self.time
        if name is None:
            return None
        # A key is another in every window: that is no news.
        keys = {c for f in self.found if f.topic == "key" for c in f.columns} - {name}
        view = self._try(lambda: view_time(self.frame.drop(keys), name), name)
        if view is not None:
            self._add(lambda: time_findings(view), name)
        return view

    def _add(self, work: Callable[[], list[Finding]], about: str) -> None:
        self.found += self._try(work, about) or []

    def _try(self, work: Callable[[], T], about: str) -> T | None:
        try:
            return work()
        except Exception as error:  # whatever is odd about one column must not cost the reader all others
            self.left_out[about] = f"{type(error).__name__}: {error}"
            return None


def _duplicates(frame: pl.DataFrame) -> int:
    return frame.height - row_hashes(frame).n_unique() if frame.width else 0


def row_hashes(frame: pl.DataFrame) -> pl.Series:
    """Hash rows to 64 bits, so that equal rows can be counted without holding all columns at once."""
    return frame.hash_rows()
