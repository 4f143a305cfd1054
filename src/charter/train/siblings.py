"""Series that a new one is like, and how far from it they sell: what a forecast without a past rests on.

A series without a past is forecast as series like it would sell under its own prices and promotions (forecasting by
analogy, as retailers introduce products; Wright and Stern, 2015). Its *siblings* are those that share the values of its
keys, first of the key that says most about what sells (the same product in other stores rather than other products of
the same store), among these the nearest by attributes.

How the levels of series differ is split into an overall level and an effect of each value of each key, by median polish
(Tukey, 1977), so that a product that never sold in one store moves nothing. Effects are shrunk towards none where few
series speak for them (empirical Bayes; Efron and Morris, 1975)::

    level = overall + effect[store] + effect[product] + rest

A sibling's forecast is moved by the difference of the effects: a product that is new to a strong store sells more there
than in its other stores. What a value sells that nobody has seen is told by its attributes where it has some: then
siblings are near, and nothing is moved. Where it has none, it is taken for a usual one, whose effect is 0.

Levels are means of log(1 + label) over the periods before the origin, and all of this adds on that scale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.data.grid import SERIES, SeriesPlan
from charter.features.forecasts import join_attributes
from charter.train.median_polish import polish

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

WINDOW = {"day": 28, "week": 13, "month": 6}
"""Periods before the origin that tell the level of a series, by the length of a period."""
MOST = 10
"""Siblings of a series."""
FEWEST = 3
"""Siblings that are looked for, also among those that share less, before fewer are taken."""
_APART = 2.0
"""Squared distance of what is missing or of another kind: that of two numbers drawn at random, in standard units."""
_OWN = 0.5
"""A column known ahead tells series apart where at least so much of its variance lies between the values of a key."""
_PERIOD, _LEVEL = "__period", "__level"


@dataclass(frozen=True, slots=True)
class Trait:
    """A column by which series are near each other.

    Attributes
    ----------
    name
        Of an attribute, or of a number known ahead.
    key
        The key whose values it describes.
    mean, scale
        Of a number, over series; a scale of 0 is a category.
    """

    name: str
    key: str
    mean: float = 0.0
    scale: float = 0.0


@dataclass(frozen=True, slots=True)
class Kin:
    """Series before an origin, to find siblings among.

    Attributes
    ----------
    names
        Of the n series, ascending.
    keys
        For each key the code of its value, int64 [n].
    level
        float64 [n]: mean of log(1 + label).
    marks
        float64 [n, traits]: standard units, or codes of a category; NaN is missing.
    effects
        For each key the effect of each value on the level, by its code; NaN for values that none of the series has.
    """

    names: npt.NDArray[Any]
    keys: tuple[Integers, ...]
    level: Floats
    marks: Floats
    effects: tuple[Floats, ...]

    def without(self, hidden: Booleans) -> Kin:
        """Leave series out, and learn the effects from the others."""
        left = ~hidden
        keys, widths = [k[left] for k in self.keys], [len(e) for e in self.effects]
        level = self.level[left]
        return Kin(self.names[left], tuple(keys), level, self.marks[left], polish(level, keys, widths))


@dataclass(frozen=True, slots=True)
class Siblings:
    """Siblings of some rows, one after the other: m pairs.

    Attributes
    ----------
    row
        int64 [m], ascending: the row that each is a sibling of.
    place
        int64 [m]: the sibling among the series of `Kin`.
    moved
        float64 [m]: what is added to its forecast.
    unknown
        For each row the keys whose values nobody has seen, as a bit each: 1 the first key, 2 the second, 4 the third.
    """

    row: Integers
    place: Integers
    moved: Floats
    unknown: Integers


class _Related(NamedTuple):
    """Series that share as much as any with a new one, m of them.

    Attributes
    ----------
    place
        int64 [m]: among the series of `Kin`.
    shared
        float64 [m]: what the keys are worth that they share.
    moved
        As of `Siblings`.
    most
        So many of them are siblings.
    unknown
        As of `Siblings`.
    """

    place: Integers
    shared: Floats
    moved: Floats
    most: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Likeness:
    """How siblings are found; plain data.

    Attributes
    ----------
    window
        Periods before the origin that tell the level.
    traits
        By which series are near each other.
    """

    window: int
    traits: tuple[Trait, ...] = ()

    @classmethod
    def learn(
        cls,
        history: pl.DataFrame,
        plan: SeriesPlan,
        attributes: Mapping[str, pl.DataFrame],
        features: Iterable[str],
    ) -> Likeness:
        """Choose what tells series apart, among the features of the model.

        Parameters
        ----------
        history
            Training rows of the observed source, with ``series``.
        features
            Names that the model may see: what it must not see makes no siblings either.

        Returns
        -------
        Every attribute, and numbers known ahead that are a matter of a key's value (what a product costs) rather than
        of the week (whether it is promoted).
        """
        allowed = set(features)
        traits: list[Trait] = []
        series = history.select(SERIES, *plan.keys).unique(SERIES).sort(SERIES)
        known = join_attributes(series, plan, attributes)
        for source, key in plan.attributes:
            for name in attributes[source].columns:
                if name not in allowed or name == key or name in history.columns:
                    continue
                column = known[name]
                if column.dtype.is_numeric():
                    traits += _number(name, key, column.cast(pl.Float64))
                elif column.dtype in (pl.String, pl.Boolean) or isinstance(column.dtype, pl.Enum):
                    traits.append(Trait(name, key))
        for name in plan.known_ahead:
            if name in allowed and name in history.columns and history.schema[name].is_numeric():
                means = history.group_by(SERIES, maintain_order=True).agg(
                    pl.col(name).cast(pl.Float64).mean()
                )
                told = _described(history, name, plan.keys)
                traits += _number(name, told, means[name]) if told is not None else []
        return cls(WINDOW[plan.every], tuple(traits))

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"window": self.window, "traits": [asdict(one) for one in self.traits]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Likeness:
        """Inverse of `to_json`."""
        return cls(int(data["window"]), tuple(Trait(**one) for one in data["traits"]))


class Families:
    """Finds siblings.

    Parameters
    ----------
    likeness
        How they are found.
    history
        The observed source, regular (see `charter.data.grid.on_grid`).
    attributes
        Sources of the attributes.
    """

    def __init__(
        self,
        likeness: Likeness,
        history: pl.DataFrame,
        plan: SeriesPlan,
        attributes: Mapping[str, pl.DataFrame],
    ) -> None:
        self.likeness, self.plan, self._attributes = likeness, plan, attributes
        told = [t.name for t in likeness.traits if t.name in history.columns]
        self._history = history.select(
            SERIES,
            *plan.keys,
            *(pl.col(name).cast(pl.Float64) for name in told),
            plan.grid.number(pl.col(plan.time)).alias(_PERIOD),
            pl.col(plan.label).cast(pl.Float64).log1p().alias(_LEVEL),
        ).filter(pl.col(_LEVEL).is_not_null())
        self._told = told
        self._last: tuple[int, Kin] | None = None
        self.values = [self._history[k].cast(pl.String).unique().sort().to_list() for k in plan.keys]
        """For each key the texts of its values; the code of a value is its place."""
        self._places = [{value: code for code, value in enumerate(known)} for known in self.values]
        self._codes = {
            trait.name: {value: float(code) for code, value in enumerate(self._values(trait))}
            for trait in likeness.traits
            if trait.scale == 0.0
        }

    def before(self, origin: int) -> Kin:
        """Series that sold before an origin, the number of the first period that is not known."""
        kept = self._last
        if kept is None or kept[0] != origin:  # most requests are about the newest one
            kept = self._last = (origin, self._before(origin))
        return kept[1]

    def _before(self, origin: int) -> Kin:
        recent = self._history.filter(pl.col(_PERIOD).is_between(origin - self.likeness.window, origin - 1))
        found = recent.group_by(SERIES).agg(
            *(pl.col(k).first() for k in self.plan.keys), pl.col(_LEVEL, *self._told).mean()
        )
        found = join_attributes(found.sort(SERIES), self.plan, self._attributes)
        keys, level = self.coded(found), found[_LEVEL].to_numpy()
        effects = polish(level, keys, [len(known) for known in self.values])
        return Kin(found[SERIES].to_numpy(), tuple(keys), level, self.marks(found), effects)

    def coded(self, rows: pl.DataFrame) -> list[Integers]:
        """Codes of the values of the keys, each int64 [n]; -1 for one that the history does not hold."""
        return [
            np.array([place.get(v, -1) for v in rows[k].cast(pl.String).to_list()], dtype=np.int64)
            for k, place in zip(self.plan.keys, self._places, strict=True)
        ]

    def marks(self, rows: pl.DataFrame) -> Floats:
        """Traits of rows, which hold them under their names: float64 [n, traits]."""
        found = np.full((rows.height, len(self.likeness.traits)), np.nan)
        for at, trait in enumerate(self.likeness.traits):
            if trait.name not in rows.columns:
                continue
            column = rows[trait.name]
            if trait.scale > 0:
                value = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
                found[:, at] = (value - trait.mean) / trait.scale
            else:
                codes = self._codes[trait.name]
                text = column.cast(pl.String).to_list()
                found[:, at] = [np.nan if v is None else codes.get(v, -1.0) for v in text]
        return found

    def of(self, kin: Kin, keys: Sequence[Integers], marks: Floats) -> Siblings:
        """Find the siblings of rows; those of one row depend on no other row.

        Parameters
        ----------
        keys, marks
            As `coded` and `marks` give them for n rows.
        """
        n = len(marks)
        table: dict[str, npt.NDArray[Any]] = {f"key {k}": one for k, one in enumerate(keys)}
        table |= {f"mark {t}": marks[:, t] for t in range(marks.shape[1])}
        alike = pl.DataFrame(table).select(pl.struct(pl.all()).rank("dense")).to_series().to_numpy()
        _, first, back = np.unique(alike, return_index=True, return_inverse=True)
        # What the keys tell is the same for all prices and promotions that a series is asked about with.
        related = lru_cache(maxsize=None)(partial(self._related, kin, self._worth(kin)))
        place, moved, unknown = [], [], np.zeros(len(first), np.int64)
        for at, row in enumerate(first.tolist()):
            told = related(*(int(values[row]) for values in keys))
            distance = self._distance(kin.marks[told.place], marks[row])
            taken = np.lexsort((distance, -told.shared))[: told.most]
            place.append(told.place[taken])
            moved.append(told.moved[taken])
            unknown[at] = told.unknown
        counts = np.array([len(one) for one in place], dtype=np.int64)
        return Siblings(
            np.repeat(np.arange(n), counts[back]),
            np.concatenate([place[i] for i in back.tolist()] or [np.empty(0, np.int64)]),
            np.concatenate([moved[i] for i in back.tolist()] or [np.empty(0)]),
            unknown[back],
        )

    def _worth(self, kin: Kin) -> list[float]:
        """How much each key says about what sells; sharing one that says nothing is still better than sharing none."""
        effect = [e[own] for own, e in zip(kin.keys, kin.effects, strict=True)]
        return [max(float(np.mean(one**2)) if len(one) else 0.0, 1e-12) for one in effect]

    def _related(self, kin: Kin, worth: Sequence[float], *codes: int) -> _Related:
        """Series among which a series with these keys has its siblings."""
        shared, shift, unknown = np.zeros(len(kin.level)), np.zeros(len(kin.level)), 0
        for k, (key, code) in enumerate(zip(self.plan.keys, codes, strict=True)):
            effect = kin.effects[k][kin.keys[k]]
            own = kin.effects[k][code] if code >= 0 else np.nan
            if np.isfinite(own):
                shared += worth[k] * (kin.keys[k] == code)
                shift += own - effect
            else:
                unknown += 1 << k
                if not any(trait.key == key for trait in self.likeness.traits):
                    shift -= effect
        few = len(shared) - FEWEST
        near = np.flatnonzero(shared >= np.partition(shared, few)[few]) if few > 0 else np.arange(len(shared))
        close = int((shared == shared.max(initial=0.0)).sum())
        return _Related(near, shared[near], shift[near], min(MOST, max(close, FEWEST)), unknown)

    def _distance(self, others: Floats, own: Floats) -> Floats:
        apart = np.zeros(len(others))
        for at, trait in enumerate(self.likeness.traits):
            with np.errstate(invalid="ignore"):
                differ = others[:, at] - own[at]
                one = differ**2 if trait.scale > 0 else _APART * (differ != 0)
            apart += np.where(np.isnan(differ), _APART, one)
        return apart

    def _values(self, trait: Trait) -> list[str]:
        for source, _ in self.plan.attributes:
            if trait.name in self._attributes[source].columns:
                column = self._attributes[source][trait.name].cast(pl.String)
                return [str(v) for v in column.drop_nulls().unique().sort().to_list()]
        return []


def middle(said: Floats, row: Integers, n: int) -> Floats:
    """Mean of the middle of each row's numbers, a quarter being cut off at both ends.

    So one sibling that never sold, or two of ten, have no say.

    Parameters
    ----------
    said
        float64 [m]; what is not finite is left out.
    row
        int64 [m]: the row that each belongs to, below ``n``.

    Returns
    -------
    float64 [n], NaN for rows without a number.

    Examples
    --------
    >>> middle(np.array([3.0, 0.0, 5.0, 4.0, 7.0]), np.array([0, 0, 0, 0, 1]), 3).tolist()
    [3.5, 7.0, nan]
    """
    kept = middle_half(said, row, n)
    count = np.bincount(row[kept], minlength=n)
    total = np.bincount(row[kept], weights=said[kept], minlength=n)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / count, dtype=np.float64)


def middle_half(said: Floats, row: Integers, n: int) -> Integers:
    """Places of the numbers that `middle` takes the mean of, row by row, ascending by number.

    Examples
    --------
    >>> middle_half(np.array([3.0, 0.0, 5.0, 4.0, 7.0]), np.array([0, 0, 0, 0, 1]), 3).tolist()
    [0, 3, 4]
    """
    order = np.lexsort((said, row))
    order = order[np.isfinite(said[order])]
    row = row[order]
    count = np.bincount(row, minlength=n)
    rank = np.arange(len(row)) - (np.cumsum(count) - count)[row]
    cut = (count + 1) // 4
    return np.asarray(order[(rank >= cut[row]) & (rank < (count - cut)[row])])


def _number(name: str, key: str, column: pl.Series) -> list[Trait]:
    known = column.drop_nulls().drop_nans().to_numpy()
    scale = float(known.std()) if len(known) else 0.0
    return [Trait(name, key, float(known.mean()), scale)] if scale > 0 and np.isfinite(scale) else []


def _described(history: pl.DataFrame, name: str, keys: Sequence[str]) -> str | None:
    """Key whose values tell most of a column's variance, where that is at least `_OWN` of it."""
    column = pl.col(name).cast(pl.Float64)
    whole = float(history.select(column.var()).item() or 0.0)
    if not whole > 0:
        return None
    shares = {
        key: float(history.select((column.mean().over(key)).var()).item() or 0.0) / whole for key in keys
    }
    best = max(keys, key=lambda key: shares[key])
    return best if shares[best] >= _OWN else None
