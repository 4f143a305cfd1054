"""What a version saw and said, in training or in a window, and how one differs from another. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from charter.data.profile import Profile
from charter.monitor.compare import compare
from charter.monitor.drift import judge_drift
from charter.monitor.drift_types import Finding, Measured
from charter.spec.types import DriftSpec

TRAINING, PREVIOUS, YEAR_AGO = "training", "previous", "year_ago"


@dataclass(frozen=True, slots=True)
class Seen:
    """Profiles of what went into a model and of what came out.

    Attributes
    ----------
    features
        Of what the model is given, as far as it is known here: of a window at least the inputs that are logged.
    """

    features: Profile
    score: Profile

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"features": self.features.to_json(), "score": self.score.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Seen:
        """Inverse of `to_json`."""
        return cls(Profile.from_json(data["features"]), Profile.from_json(data["score"]))


def drift_of(
    now: Seen,
    trained: Seen,
    limits: DriftSpec,
    *,
    before: Sequence[Seen] = (),
    year_ago: Seen | None = None,
) -> Mapping[str, tuple[Finding, ...]]:
    """Judge what a window saw and said against training and whatever else the specification asks for.

    Parameters
    ----------
    now, before
        The window, and those of the version before it, oldest first; in the bins of ``trained``.
    year_ago
        The window of the same season a year ago.

    Returns
    -------
    Reference to findings. Those against ``training`` are judged over the last ``limits.persistence`` windows, with
    significance controlled over all of them. A change against the window before shows once, when it comes, and against
    a year ago the season comes once: both are judged by this window alone.
    """
    once = limits.model_copy(update={"persistence": 1})
    known = set(now.features.columns)
    windows = [*before, now][-limits.persistence :]
    found = {TRAINING: judge_drift([_measured(w, trained, limits, known) for w in windows], limits).findings}
    others = {PREVIOUS: before[-1] if before else None, YEAR_AGO: year_ago}
    for name in limits.also_against:
        reference = others[name]
        if reference is not None:
            found[name] = judge_drift([_measured(now, reference, limits, known)], once).findings
    return found


def _measured(now: Seen, reference: Seen, limits: DriftSpec, known: set[str]) -> tuple[Measured, ...]:
    """Only of columns that the last window has: what is not logged cannot be compared."""
    unknown = [name for name in reference.features.columns if name not in known]
    return (
        *compare(reference.features, now.features, ignore=(*unknown, *limits.ignore)),
        *compare(reference.score, now.score, role="prediction"),
    )
