"""Which sums of series people look at: brands, stores, zones, the whole chain.

Every series belongs to exactly one *node* of each level, so the summing matrix (Hyndman & Athanasopoulos,
"Forecasting: Principles and Practice", 3rd ed., 11.2) needs not be written out: one whole number per level and series
says it all, and a sum over 10 times the series costs 10 times as much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.core.errors import DataError, UsageError
from charter.core.nearest import advice
from charter.evaluate.types import Floats, Integers

SERIES, TOTAL = "series", "total"
"""Names of the levels that are always there: every series by itself, and the sum of all."""
SEPARATOR = "/"
UNKNOWN = "(unknown)"
"""What a level's column is called where a series has no value, such as a new store without attributes."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Series, and the nodes that they add up to.

    Attributes
    ----------
    levels
        Aggregated levels from the coarsest, ``total`` first, with the columns whose values make a node.
    series
        Names of the n series, sorted.
    nodes
        Names of the m aggregated nodes, level by level; ``("total", "total")``, ``("brand", "3")``.
    member
        Shape (number of levels, n): the node, 0..m-1, that each series belongs to.
    """

    levels: Mapping[str, tuple[str, ...]]
    series: tuple[str, ...]
    nodes: tuple[tuple[str, str], ...]
    member: Integers
    _order: Integers = field(repr=False)
    _starts: tuple[Integers, ...] = field(repr=False)

    @classmethod
    def of(cls, frame: pl.DataFrame, levels: Mapping[str, Sequence[str]]) -> Hierarchy:
        """Find the nodes of each level.

        Parameters
        ----------
        frame
            Rows with a column ``series`` and those that the levels name; several rows of a series must agree. A series
            without a value belongs to the node `UNKNOWN` of the level.
        levels
            Name of each level to its columns.

        Raises
        ------
        UsageError
            For a level named like one that is always there, or without columns.
        DataError
            For a column that is not there, or a series with several values.

        Examples
        --------
        >>> sales = pl.DataFrame({"series": ["1/a", "1/b", "2/a"], "store": [1, 1, 2], "brand": ["a", "b", "a"]})
        >>> h = Hierarchy.of(sales, {"store": ["store"], "brand": ["brand"]})
        >>> h.nodes
        (('total', 'total'), ('store', '1'), ('store', '2'), ('brand', 'a'), ('brand', 'b'))
        >>> h.sums(np.array([[10.0], [20.0], [5.0]])).ravel().tolist()
        [35.0, 30.0, 5.0, 15.0, 20.0]
        """
        known = _check_levels(frame, levels)
        columns = list(dict.fromkeys(c for used in known.values() for c in used))
        table = frame.select(SERIES, *columns).unique().sort(SERIES)
        _refuse_several(table, columns)
        nodes: list[tuple[str, str]] = [(TOTAL, TOTAL)]
        member = [np.zeros(table.height, dtype=np.int64)]
        for level, used in known.items():
            named = table.select(node=node_names(used))["node"]
            names = named.unique().sort()
            places = named.cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int64)
            member.append(places + len(nodes))
            nodes += [(level, name) for name in names.to_list()]
        matrix = np.stack(member)
        order = np.argsort(matrix, axis=1, kind="stable")
        starts = tuple(
            np.flatnonzero(np.r_[True, np.diff(row[by]) > 0]) if len(row) else np.empty(0, np.int64)
            for row, by in zip(matrix, order, strict=True)
        )
        return cls({TOTAL: (), **known}, tuple(table[SERIES]), tuple(nodes), matrix, order, starts)

    @property
    def n_series(self) -> int:
        """Number of series."""
        return len(self.series)

    def sums(self, values: Floats) -> Floats:
        """Add series up to nodes.

        Parameters
        ----------
        values
            Shape (n, t), one row per series in the order of `series`.

        Returns
        -------
        Shape (m, t), one row per node in the order of `nodes`.
        """
        parts = [
            np.add.reduceat(values[order], starts, axis=0)
            for order, starts in zip(self._order, self._starts, strict=True)
        ]
        return np.concatenate(parts)

    def products(self, weights: Floats) -> Floats:
        """Sum ``weights`` over the series that two nodes share: C diag(w) C', shape (m, m), C the sums."""
        m = len(self.nodes)
        flat = np.zeros(m * m)
        for row in self.member:
            for column in self.member:
                flat += np.bincount(row * m + column, weights, minlength=m * m)
        return flat.reshape(m, m)

    def spread(self, values: Floats) -> Floats:
        """Give each series the sum of its nodes' values: C' v, shape (m, t) to (n, t)."""
        found: Floats = values[self.member].sum(axis=0)
        return found

    def node_frame(self) -> pl.DataFrame:
        """Level and node of all, series last: the order of stacked results."""
        pairs = [*self.nodes, *((SERIES, name) for name in self.series)]
        return pl.DataFrame(pairs, schema={"level": pl.String, "node": pl.String}, orient="row")


def node_names(columns: Sequence[str]) -> pl.Expr:
    """Name a node by its values, as row ids are made; `UNKNOWN` stands for a value that is missing."""
    return pl.concat_str([pl.col(c).cast(pl.String).fill_null(UNKNOWN) for c in columns], separator=SEPARATOR)


def _check_levels(frame: pl.DataFrame, levels: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    for level, columns in levels.items():
        if level in (SERIES, TOTAL):
            raise UsageError(f"level {level!r} is always there", remedy="Leave it out, or call it otherwise.")
        if not columns:
            raise UsageError(
                f"level {level!r} has no columns, so it is the total, which is always there",
                remedy="Leave it out.",
            )
        for column in columns:
            if column not in frame.columns:
                raise DataError(
                    f"level {level!r}: the forecast has no column {column!r}",
                    remedy=advice(column, frame.columns),
                )
    return {level: tuple(columns) for level, columns in levels.items()}


def _refuse_several(table: pl.DataFrame, columns: Sequence[str]) -> None:
    twice = table.filter(pl.col(SERIES).is_duplicated())
    if not twice.height:
        return
    name = twice[SERIES][0]
    rows = twice.filter(pl.col(SERIES) == name)
    column = next(c for c in columns if rows[c].n_unique() > 1)
    found = ", ".join(map(str, rows[column].unique().sort().to_list()[:3]))
    raise DataError(
        f"series {name!r} belongs to several nodes: {column} is {found}",
        remedy="A level's columns must not change over the life of a series.",
    )


def cells(hierarchy: Hierarchy, frame: pl.DataFrame, column: str, key: npt.NDArray[np.int64]) -> Floats:
    """Put a column of a long frame into a matrix of series and moments; NaN where there is no row.

    Parameters
    ----------
    frame
        Rows with ``series``; each pair of series and ``key`` at most once.
    key
        Shape (rows,): 0..t-1, the moment (origin and step) of each row.

    Returns
    -------
    Shape (n, t).
    """
    place = frame[SERIES].cast(pl.Enum(hierarchy.series)).to_physical().to_numpy().astype(np.int64)
    matrix = np.full((hierarchy.n_series, int(key.max(initial=-1)) + 1), np.nan)
    matrix[place, key] = frame[column].cast(pl.Float64).to_numpy()
    return matrix
