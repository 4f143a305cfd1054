"""Who answers which request: the version that serves, and what is tried beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from charter.core.errors import UsageError
from charter.registry.assignment import Assignment

Stage = Literal["full", "shadow", "canary", "experiment", "stopped"]
"""``full``: the champion answers everything. ``shadow``: it does, and the candidate scores the same requests unseen.
``canary``, ``experiment``: units are dealt out to arms. ``stopped``: the declared fallback answers everything."""

CHAMPION, CANDIDATE, SHADOW = "champion", "candidate", "shadow"
"""Arms of a canary; and what stands in the log as the arm of an answer that nobody was given."""
_SCHEMA_VERSION = 1
_STAGES: tuple[str, ...] = get_args(Stage)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Who answers which request.

    Attributes
    ----------
    champion
        Version that serves, such as ``v3``. It answers for every unit that has no arm: outside the shares, excluded,
        in the holdout, in another experiment's slot of the layer, or missing in the request.
    candidate
        Version that is tried; None in the stages ``full`` and ``stopped``.
    unit
        Field of requests that is assigned to an arm; None assigns each request by its identifier.
    stratum
        Field of requests that names the stratum, where the assignment has any.
    assignment
        Of a canary and of an experiment.
    arms
        Arm to version, for every arm of the assignment.
    name
        Of the rollout or experiment, for people.

    Raises
    ------
    UsageError
        When the fields do not fit together.

    Examples
    --------
    >>> from charter.registry.allocation import Allocation
    >>> shares = Allocation.of({"champion": 0.9, "candidate": 0.1})
    >>> arms = {"champion": "v3", "candidate": "v4"}
    >>> ten = Traffic("canary", "v3", "v4", "customer_id", Assignment("rollout-v4", shares), arms)
    >>> ten.version_for("customer-1"), ten.version_for("customer-4"), ten.version_for(None)
    (('v3', 'champion'), ('v4', 'candidate'), ('v3', None))
    >>> Traffic.from_json(ten.to_json()) == ten
    True
    """

    stage: Stage
    champion: str
    candidate: str | None = None
    unit: str | None = None
    assignment: Assignment | None = None
    arms: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    stratum: str | None = None

    def __post_init__(self) -> None:
        if self.stage not in _STAGES:
            raise UsageError(f"traffic.stage is {self.stage!r}; allowed: {', '.join(_STAGES)}")
        if not self.champion:
            raise UsageError("traffic.champion is empty", remedy="Name the version that serves, such as v3.")
        alone, dealt = self.stage in ("full", "stopped"), self.stage in ("canary", "experiment")
        if alone != (self.candidate is None):
            wanted = "must be left out" if alone else "must name the version that is tried"
            raise UsageError(
                f"traffic.candidate is {self.candidate!r}; in the stage {self.stage} it {wanted}"
            )
        if self.candidate == self.champion:
            raise UsageError(f"traffic.candidate is {self.candidate!r}, which is the champion")
        if dealt != (self.assignment is not None):
            wanted = "is needed" if dealt else "must be left out"
            raise UsageError(f"traffic.assignment {wanted} in the stage {self.stage}")
        if self.assignment is not None:
            self._check_arms(self.assignment)

    def _check_arms(self, assignment: Assignment) -> None:
        dealt = {s.arm for a in (assignment.arms, *assignment.strata.values()) for s in a.segments}
        if lacking := sorted(dealt - set(self.arms)):
            raise UsageError(
                f"traffic.arms lacks {lacking[0]!r}, which the assignment deals out",
                remedy="Name the version of every arm.",
            )
        if SHADOW in self.arms:
            raise UsageError(
                f"traffic.arms: {SHADOW!r} stands for answers that nobody was given, and is no arm"
            )
        if assignment.strata and self.stratum is None:
            raise UsageError("traffic.stratum is missing: the assignment has strata")

    @property
    def versions(self) -> tuple[str, ...]:
        """Every version that this traffic needs, the champion first."""
        named = (self.champion, self.candidate, *self.arms.values())
        return tuple(dict.fromkeys(v for v in named if v is not None))

    def version_for(self, unit: str | int | None, stratum: str | None = None) -> tuple[str, str | None]:
        """Version that answers for a unit, and the unit's arm; None where it has no arm.

        The same unit gets the same arm in every process, as long as its arm does not shrink.

        Parameters
        ----------
        unit
            None and empty text have no arm.

        Raises
        ------
        UsageError
            For a unit that is neither text nor a whole number.
        """
        if self.assignment is None or unit is None or unit == "":
            return self.champion, None
        arm, _ = self.assignment.assign(unit, stratum)
        return (self.champion, None) if arm is None else (self.arms[arm], arm)

    def summary(self) -> dict[str, Any]:
        """What people want to know: stage, versions, and the share of units of each arm."""
        shares = {"shares": self.assignment.arms.shares} if self.assignment is not None else {}
        candidate = {"candidate": self.candidate} if self.candidate is not None else {}
        return {"stage": self.stage, "champion": self.champion, **candidate, **shares}

    def to_json(self) -> dict[str, Any]:
        """Plain data, with a schema version."""
        return {
            "schema_version": _SCHEMA_VERSION,
            "stage": self.stage,
            "champion": self.champion,
            "candidate": self.candidate,
            "unit": self.unit,
            "assignment": self.assignment.to_json() if self.assignment is not None else None,
            "arms": dict(self.arms),
            "name": self.name,
            "stratum": self.stratum,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Traffic:
        """Inverse of `to_json`.

        Raises
        ------
        UsageError
            When the data is no traffic, or its fields do not fit together.
        """
        try:
            version = data["schema_version"]
            if version != _SCHEMA_VERSION:
                raise UsageError(
                    f"traffic has schema_version {version!r}; this program reads {_SCHEMA_VERSION}"
                )
            assignment = data["assignment"]
            return cls(
                data["stage"],
                str(data["champion"]),
                _text(data["candidate"]),
                _text(data["unit"]),
                Assignment.from_json(assignment) if assignment is not None else None,
                {str(arm): str(name) for arm, name in data["arms"].items()},
                str(data["name"]),
                _text(data["stratum"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UsageError(f"traffic lacks or garbles {error}") from error


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
