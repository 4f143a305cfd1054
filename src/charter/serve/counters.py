"""Profile counters: what a version was asked and what it answered, in a form that adds up. Pure.

The training reference (``profile.json`` of the bundle) gives the bin edges and the known values, so that counters of
any two workers, days or machines can be merged, and compared with training, without a look at the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from charter.data.profile import Profile, empty_like, merge, profile

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Reference:
    """What training saw and said."""

    features: Profile
    score: Profile

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Reference:
        """Read the content of a bundle's ``profile.json``."""
        return cls(Profile.from_json(data["features"]), Profile.from_json(data["score"]))

    def restricted(self, columns: Sequence[str]) -> Reference:
        """Leave out the features that a server does not compute."""
        kept = {n: c for n, c in self.features.columns.items() if n in columns}
        return Reference(Profile(self.features.rows, kept), self.score)


@dataclass(frozen=True, slots=True)
class Counters:
    """What was counted of a version.

    Attributes
    ----------
    rows, fallbacks, warned
        Rows answered; of these by the fallback; of these with a warning.
    decisions
        Rows by decision, ``none`` where there is none.
    features, score
        Profiles over the rows that the model answered; edges and known values are the reference's.
    outside
        By numeric feature, values outside the lowest and highest of training.
    unseen
        By categorical feature, values that training did not see; only features of which training saw no more values
        than a profile knows.
    """

    rows: int
    fallbacks: int
    warned: int
    decisions: Mapping[str, int]
    features: Profile
    score: Profile
    outside: Mapping[str, int] = field(default_factory=dict)
    unseen: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data, with a schema version."""
        return {
            "schema_version": SCHEMA_VERSION,
            "rows": self.rows,
            "fallbacks": self.fallbacks,
            "warned": self.warned,
            "decisions": dict(self.decisions),
            "features": self.features.to_json(),
            "score": self.score.to_json(),
            "outside": dict(self.outside),
            "unseen": dict(self.unseen),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Counters:
        """Inverse of `to_json`.

        Raises
        ------
        ValueError
            For a schema version that this program does not read.
        """
        if data["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"counters have schema_version {data['schema_version']!r}")
        plain = {k: v for k, v in data.items() if k != "schema_version"}
        profiles = {name: Profile.from_json(data[name]) for name in ("features", "score")}
        return cls(**{**plain, **profiles})


def nothing(reference: Reference) -> Counters:
    """Counters of no rows."""
    return Counters(0, 0, 0, {}, empty_like(reference.features), empty_like(reference.score))


def count(
    features: pl.DataFrame | None,
    score: pl.Series,
    decisions: Sequence[str | None],
    fallback: Sequence[bool],
    warnings: Sequence[Sequence[str]],
    reference: Reference,
) -> Counters:
    """Count rows.

    Parameters
    ----------
    features
        What the model saw: the rows that no fallback answered; None when it answered all.
    score, decisions, fallback, warnings
        What was answered, n rows each.
    """
    words = pl.Series(decisions, dtype=pl.String).fill_null("none").value_counts()
    by_model = ~pl.Series(fallback, dtype=pl.Boolean)
    outside, unseen = ({}, {}) if features is None else _strange(features, reference.features)
    seen = empty_like(reference.features) if features is None else profile(features, reference.features)
    own = score.filter(by_model).alias("score").to_frame()
    return Counters(
        rows=len(score),
        fallbacks=len(score) - int(by_model.sum()),
        warned=sum(1 for w in warnings if w),
        decisions={str(word): int(n) for word, n in words.iter_rows()},
        features=seen,
        score=profile(own, reference.score) if reference.score.columns else Profile(own.height, {}),
        outside=outside,
        unseen=unseen,
    )


def combine(a: Counters, b: Counters) -> Counters:
    """Counters of the rows of both together; exact and associative, see `charter.data.profile.merge`.

    Raises
    ------
    ValueError
        When the two were not counted against the same reference.
    """
    return Counters(
        a.rows + b.rows,
        a.fallbacks + b.fallbacks,
        a.warned + b.warned,
        _sum(a.decisions, b.decisions),
        merge(a.features, b.features),
        merge(a.score, b.score),
        _sum(a.outside, b.outside),
        _sum(a.unseen, b.unseen),
    )


def _strange(frame: pl.DataFrame, reference: Profile) -> tuple[dict[str, int], dict[str, int]]:
    """Values by feature that lie outside the range of training, and categories that it did not have."""
    outside: list[pl.Expr] = []
    unseen: list[pl.Expr] = []
    for name, known in reference.columns.items():
        if name not in frame.columns:
            continue
        if known.kind == "numeric" and known.low is not None and known.high is not None:
            value = pl.col(name).cast(pl.Float64)
            beyond = ((value < known.low) | (value > known.high)) & value.is_finite()
            outside.append(beyond.sum().alias(name))
        elif known.kind == "categorical" and not known.other:
            missing = ~pl.col(name).cast(pl.String).is_in(list(known.values))
            unseen.append(missing.sum().alias(name))
    return _row(frame, outside), _row(frame, unseen)


def _row(frame: pl.DataFrame, sums: Sequence[pl.Expr]) -> dict[str, int]:
    if not sums:
        return {}
    (values,) = frame.select(sums).to_dicts()
    return {name: int(n or 0) for name, n in values.items()}


def _sum(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    return {name: a.get(name, 0) + b.get(name, 0) for name in (*a, *(n for n in b if n not in a))}
