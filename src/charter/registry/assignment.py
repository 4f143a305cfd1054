"""Which arm a unit belongs to: the same in the server, the rollout, the analysis, and in any other service.

Before the shares of the arms come those that keep units out altogether: exclusions, the holdout, and the layer, in
which experiments that must not meet have slots of their own. Arms are a pure function of names and salts: nothing is
stored for a unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from charter.core.errors import UsageError
from charter.registry.allocation import BUCKETS, Allocation, bucket, buckets, check_salt, unit_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl

Why = Literal["arm", "outside", "excluded", "holdout", "layer"]
"""``arm``: has one. Otherwise none, because the unit is outside the shares of all arms, on the list of exclusions, in
the holdout, or in a part of the layer that belongs to other experiments."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Part of all units under a salt that several experiments share: a holdout, or one's place in a layer.

    Experiments of one layer that have slots which do not overlap never see the same unit.
    """

    salt: str
    start: int
    stop: int

    def __post_init__(self) -> None:
        check_salt(self.salt)
        if not 0 <= self.start < self.stop <= BUCKETS:
            raise UsageError(f"a slot lies between 0 and {BUCKETS:,} and is not empty")


@dataclass(frozen=True, slots=True)
class Assignment:
    """How units get their arms.

    Attributes
    ----------
    salt
        Of this experiment alone. A new salt deals anew; with the same salt two experiments see the same halves.
    arms
        Shares of the arms.
    strata
        Other shares for some strata, such as ``{"EU": Allocation.of({"control": 1.0})}``. The bucket does not depend
        on the stratum: where shares are equal, a unit that moves keeps its arm.
    excluded
        Units that get no arm, such as testers.
    holdout
        Units that no experiment touches, to measure what all of them did together.
    layer
        Units that this experiment may use; None for all.
    """

    salt: str
    arms: Allocation
    strata: Mapping[str, Allocation] = field(default_factory=dict)
    excluded: frozenset[str] = frozenset()
    holdout: Slot | None = None
    layer: Slot | None = None

    def __post_init__(self) -> None:
        check_salt(self.salt)
        for slot in (self.holdout, self.layer):
            if slot is not None and slot.salt == self.salt:
                raise UsageError(
                    f"salt {self.salt!r} is used twice, which ties arms to the slot",
                    remedy="Give the experiment, the holdout and the layer salts of their own.",
                )

    def assign(self, unit: str | int, stratum: str | None = None) -> tuple[str | None, Why]:
        """Give a unit its arm, or None and why it has none.

        Examples
        --------
        >>> half = Assignment("welcome", Allocation.of({"a": 0.5, "b": 0.5}), excluded=frozenset({"tester"}))
        >>> half.assign("customer-1"), half.assign("tester")
        (('a', 'arm'), (None, 'excluded'))
        """
        text = unit_text(unit)
        if text in self.excluded:
            return None, "excluded"
        if self.holdout is not None and _inside(self.holdout, bucket(self.holdout.salt, text)):
            return None, "holdout"
        if self.layer is not None and not _inside(self.layer, bucket(self.layer.salt, text)):
            return None, "layer"
        allocation = self.arms if stratum is None else self.strata.get(stratum, self.arms)
        arm = allocation.arm_at(bucket(self.salt, text))
        return arm, "arm" if arm is not None else "outside"

    def assign_all(self, units: pl.Series, strata: pl.Series | None = None) -> pl.DataFrame:
        """Give a column of units their arms: exactly those of `assign`, one by one.

        Returns
        -------
        DataFrame
            n rows: ``arm`` (null where none) and ``why`` (null where the unit is null or empty).
        """
        import numpy as np
        import polars as pl

        place = buckets(self.salt, units)
        arm = _arms(self.arms, place)
        if strata is not None:
            stratum = strata.cast(pl.String)
            for name, allocation in self.strata.items():
                here = stratum.eq_missing(name).to_numpy()
                arm = np.where(here, _arms(allocation, place), arm)
        why = np.where(arm != None, "arm", "outside").astype(object)  # noqa: E711  elementwise
        if self.layer is not None:
            why[~_within(self.layer, units)] = "layer"
        if self.holdout is not None:
            why[_within(self.holdout, units)] = "holdout"
        if self.excluded:
            why[units.cast(pl.String).is_in(sorted(self.excluded)).fill_null(value=False).to_numpy()] = (
                "excluded"
            )
        arm[why != "arm"] = None
        why[place < 0] = None
        return pl.DataFrame(
            {"arm": arm.tolist(), "why": why.tolist()}, schema={"arm": pl.String, "why": pl.String}
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data, for records and for other services."""
        slots = {
            name: [slot.salt, slot.start, slot.stop] if slot is not None else None
            for name, slot in (("holdout", self.holdout), ("layer", self.layer))
        }
        return {
            "schema_version": 1,
            "salt": self.salt,
            "arms": self.arms.to_json(),
            "strata": {name: a.to_json() for name, a in self.strata.items()},
            "excluded": sorted(self.excluded),
            **slots,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Assignment:
        """Inverse of `to_json`."""
        holdout, layer = (Slot(*data[n]) if data[n] is not None else None for n in ("holdout", "layer"))
        strata = {name: Allocation.from_json(a) for name, a in data["strata"].items()}
        arms = Allocation.from_json(data["arms"])
        return cls(data["salt"], arms, strata, frozenset(data["excluded"]), holdout, layer)


def _inside(slot: Slot, place: int) -> bool:
    return slot.start <= place < slot.stop


def _within(slot: Slot, units: pl.Series) -> npt.NDArray[np.bool_]:
    place = buckets(slot.salt, units)
    return (place >= slot.start) & (place < slot.stop)


def _arms(allocation: Allocation, place: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
    import numpy as np

    named: list[str | None] = [None]
    edges: list[int] = []
    for s in allocation.segments:
        # Two steps a segment: into its arm, and out of it again.
        edges += [s.start, s.stop]
        named += [s.arm, None]
    return np.array(named, dtype=object)[np.searchsorted(edges, place, side="right")]
