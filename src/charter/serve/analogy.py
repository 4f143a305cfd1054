"""Why a series without a past is forecast as it is: what moved the forecasts of the series that it is like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.features.preprocess import Preprocessor
from charter.serve.contributions import Contributor
from charter.serve.reasons import TopReasons
from charter.serve.types import Reason
from charter.train.cold_start import Borrowed
from charter.train.siblings import middle_half

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

LIKE_IT = "series like it"
"""The reason that names the siblings."""
_NAMED = 3


@dataclass(frozen=True, slots=True, eq=False)
class Lent:
    """Rows that siblings answered.

    Attributes
    ----------
    rows
        bool [n]: which they are.
    new
        bool [n]: the k rows of series without a past; some may have no siblings.
    inputs
        The k rows, as requests bring them.
    borrowed
        Their siblings, m pairs.
    said
        float64 [m]: what the siblings say on the scale of log(1 + label), moved by what is known to differ.
    learned
        float64 [m]: what the model says of the siblings, on the scale that it learned.
    answer
        float64 [k]: the answer on that scale, before calibration.
    """

    rows: Booleans
    new: Booleans
    inputs: pl.DataFrame
    borrowed: Borrowed
    said: Floats
    learned: Floats
    answer: Floats

    def reasons(
        self,
        wanted: Booleans,
        features: Callable[[pl.DataFrame], pl.DataFrame],
        preprocessor: Preprocessor,
        contributor: Contributor,
        top: TopReasons,
    ) -> Iterator[tuple[int, list[Reason]]]:
        """Reasons of the wanted rows, each with the row's place.

        The answer is the mean of some siblings' forecasts, each counting the same, and the mean of their contributions
        is what features did to it. The first reason names the siblings; its contribution is the rest: by how much the
        answer was moved since the series is known to differ from them. All contributions and the model's average add up
        to the answer before calibration.

        Parameters
        ----------
        wanted
            bool [n].
        features
            Computes what the model sees of rows.
        top
            Puts the largest contributions into words. A number is told as the mean of the siblings'.
        """
        asked = np.flatnonzero((wanted & self.rows)[self.new])
        place = np.flatnonzero(self.new)[asked]
        taken = middle_half(self.said, self.borrowed.row, len(self.answer))
        taken = np.sort(taken[np.isin(self.borrowed.row[taken], asked)])
        if not len(taken):
            return
        row = self.borrowed.row[taken]
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        count = np.diff(starts, append=len(row))
        seen = features(self.borrowed.questions(self.inputs)[taken])
        parts = contributor.contributions(preprocessor.transform(seen))[:, 0]
        moved = np.add.reduceat(parts, starts, axis=0) / count[:, None]
        rest = self.answer[asked] - np.add.reduceat(self.learned[taken], starts) / count
        keys = self.borrowed.keys[taken]
        names = keys.select(pl.concat_str(pl.all(), separator="/")).to_series().to_list()
        told = top.of(moved, _usual(seen.select(n for n in top.names if n in seen.columns), row, keys.columns),
                      np.arange(len(asked)))  # fmt: skip
        for at, (first, number, found) in enumerate(zip(starts.tolist(), count.tolist(), told, strict=True)):
            like = _like_it(names[first : first + number], float(rest[at]))
            others = [
                Reason(r.feature, r.value, r.contribution, f"{r.text} of {LIKE_IT}")
                for r in found[: top.count - 1]
            ]
            yield int(place[at]), [like, *others]


def _like_it(names: list[str], rest: float) -> Reason:
    """Name the siblings.

    Examples
    --------
    >>> _like_it(["s1/tea", "s2/tea"], 0.1).text
    'forecast as the mean of 2 series like it (s1/tea, s2/tea), moved up by what is known to differ'
    """
    shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    what = f"the mean of {len(names)} series like it" if len(names) > 1 else "a series like it"
    way = f", moved {'up' if rest > 0 else 'down'} by what is known to differ" if abs(rest) > 1e-9 else ""
    return Reason(LIKE_IT, ", ".join(names), rest, f"forecast as {what} ({shown}){way}")


def _usual(features: pl.DataFrame, row: npt.NDArray[np.int64], keys: list[str]) -> pl.DataFrame:
    """What the siblings of a row have: the mean of numbers, the values of what is no number.

    Examples
    --------
    >>> seen = pl.DataFrame({"price": [2.5, 2.5, 3.0], "mean": [1.0, 2.0, None], "juice": ["a", "b", "a"]})
    >>> _usual(seen, np.array([0, 0, 1]), ["juice"]).rows()
    [(2.5, 1.5, 'a, b'), (3.0, None, 'a')]
    """
    told = []
    for name, dtype in features.schema.items():
        one = pl.col(name)
        if dtype.is_numeric() and name not in keys:
            told.append(pl.when(one.min() == one.max()).then(one.max()).otherwise(one.mean()).alias(name))
            continue
        if dtype == pl.Boolean:
            one = pl.when(one).then(pl.lit("yes")).when(~one).then(pl.lit("no"))
        values = one.cast(pl.String).drop_nulls().unique().sort()
        some = values.head(_NAMED).str.join(", ") + pl.when(values.len() > _NAMED).then(
            pl.lit(", ...")
        ).otherwise(pl.lit(""))
        told.append(pl.when(values.len() > 0).then(some).alias(name))
    grouped = features.with_columns(pl.Series("__row", row)).group_by("__row", maintain_order=True).agg(told)
    return grouped.drop("__row")
