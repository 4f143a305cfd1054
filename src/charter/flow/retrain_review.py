"""What earlier runs of retraining mean for a version: it waits for a person, or it was rejected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from charter.core.errors import Refusal
from charter.iterate.retrain_runs import Run, runs

if TYPE_CHECKING:
    from charter.registry.io.records import Records

REMEDY = "change the model, or `release.redeploy`, and run again: `charter retrain`"
"""What leads out of a rejection."""


def under_review(records: Records, model: str) -> Run | None:
    """The run whose candidate waits for a person; None where the last run left nothing to decide.

    It waits no more once it serves, is in a rollout, or was rejected by a signature; or when a newer run has ended.
    """
    from charter.flow.rolling import challenges  # which imports the views, and they this module

    ended = [run for run in runs(records.events(), model) if run.ended_at is not None]
    last = ended[-1] if ended else None
    if last is None or last.ending != "manual" or last.candidate is None:
        return None
    since = [d for d in records.deployments() if d.at >= last.started_at and challenges(d) is None]
    tried = {f"v{d.version}" for d in since} | {str(d.traffic.get("candidate")) for d in since}
    said_no = any(a.verdict == "reject" for a in records.approvals(int(last.candidate[1:])))
    return None if last.candidate in tried or said_no else last


def rejected(records: Records, model: str) -> Mapping[int, str]:
    """Versions that the redeployment rules rejected as successors of what serves now, each with the words of that."""
    serving = records.deployment()
    last = {run.candidate: run for run in runs(records.events(), model) if run.ending is not None}
    return {
        int(
            name.removeprefix("v")
        ): f"rejected as a successor of {run.champion} by run {run.number} of retraining"
        for name, run in last.items()
        if name is not None
        and run.ending == "rejected"
        and serving is not None
        and run.champion == f"v{serving.version}"
    }


def refuse_rejected(records: Records, model: str, version: int) -> None:
    """Refuse a version that the redeployment rules rejected as a successor of what serves now.

    Raises
    ------
    Refusal
        When the last run that judged it came to that.
    """
    words = rejected(records, model).get(version)
    if words is not None:
        raise Refusal(f"v{version} was {words}", remedy=f"{REMEDY[:1].upper()}{REMEDY[1:]}.")
