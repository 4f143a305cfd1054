"""What another threshold or rule would have been worth, from the decisions of what serves that chance had a part in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from charter.core.clock import naive
from charter.core.errors import Refusal, UsageError
from charter.core.nearest import did_you_mean
from charter.core.quantity import parse_volume
from charter.flow.outcomes import kept_outcomes
from charter.flow.windows import answers, due
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl

    from charter.monitor.policy_value import PolicyValue
    from charter.spec.types import ModelSpec

_INPUT = "input_"


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """What a policy was estimated to be worth.

    Attributes
    ----------
    policy
        In words.
    version
        Whose decisions were logged.
    since, until
        Moments of the first and the last of them (naive UTC).
    left_out
        Answers of that version of which no propensity is logged, or whose outcome is not due yet.
    per_month
        Decisions a month, as the business case has them.
    """

    policy: str
    version: str
    since: datetime
    until: datetime
    left_out: int
    found: PolicyValue
    currency: str
    per_month: float

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "schema_version": 1,
            "policy": self.policy,
            "version": self.version,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "left_out": self.left_out,
            "currency": self.currency,
            "per_month": self.per_month,
            **self.found.to_json(),
        }


def value_of(
    workspace: Workspace,
    loaded: Loaded,
    *,
    threshold: float | None = None,
    rule: str | None = None,
    version: str | None = None,
    since: datetime | None = None,
) -> PolicyReport:
    """Estimate what another policy would have been worth.

    Parameters
    ----------
    threshold
        Decide positive from this score on.
    rule
        Decide positive where this expression over the inputs is true.
    version
        Whose decisions to learn from; by default the one that serves.
    since
        Only decisions from this moment on (naive UTC).

    Raises
    ------
    UsageError
        When not exactly one policy is named, or the specification does not say what decisions are worth.
    Refusal
        When nothing was logged that could tell.
    """
    import numpy as np
    import polars as pl

    from charter.monitor.outcomes import join, latest
    from charter.monitor.policy_value import policy_value

    spec = loaded.spec
    if (threshold is None) == (rule is None):
        raise UsageError("a policy is either a threshold or a rule", remedy="Write --threshold 0.3.")
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"--threshold is {threshold:g}; scores lie between 0 and 1")
    if spec.value is None or spec.train.task != "binary":
        raise UsageError(
            "the specification does not say what decisions are worth",
            remedy="State value.per_decision; decisions of other tasks than binary have none.",
        )
    version = version or _serving(workspace, spec)
    mine = answers(workspace, spec, since=since).filter(pl.col("version") == version).collect()
    now = naive(workspace.clock.now())
    rows = join(mine, latest(kept_outcomes(workspace, spec.name))).with_columns(due(spec, now))
    rows = rows.filter(pl.col("propensity").is_not_null() & pl.col("due"))
    if rows.is_empty():
        raise Refusal(
            f"no decision of {version} can tell: none is logged with a propensity whose outcome is due",
            remedy="Declare serve.explore, release, and let decisions and outcomes come in.",
        )
    found = policy_value(
        (rows["decision"] == "positive").to_numpy(),
        rows["propensity"].to_numpy(),
        rows["outcome"].cast(pl.Float64).fill_null(np.nan).to_numpy(),
        _wanted(rows, threshold, rule),
        rows["score"].fill_null(np.nan).to_numpy(),
        spec.value.per_decision,
        groups=_groups(rows, spec),
        confidence=spec.monitor.confidence,
    )
    said = f"positive from a score of {threshold:g}" if threshold is not None else f"positive where {rule}"
    moments = rows["moment"]
    return PolicyReport(
        said,
        version,
        moments.min(),  # type: ignore[arg-type]  # a column of moments
        moments.max(),  # type: ignore[arg-type]
        mine.height - rows.height,
        found,
        spec.value.currency,
        parse_volume(spec.value.volume),
    )


def _serving(workspace: Workspace, spec: ModelSpec) -> str:
    with workspace.records(spec.name, readonly=True) as records:
        deployment = records.deployment()
    if deployment is None:
        raise Refusal(f"nothing of {spec.name} is released", remedy="`charter status` says what is missing.")
    return f"v{deployment.version}"


def _wanted(rows: pl.DataFrame, threshold: float | None, rule: str | None) -> npt.NDArray[np.bool_]:
    """What the policy decides; what the fallback answered it leaves as it was."""
    import polars as pl

    taken = pl.col("decision") == "positive"
    if threshold is not None:
        wanted = pl.when(pl.col("fallback") | pl.col("score").is_null()).then(taken)
        return rows.select(wanted.otherwise(pl.col("score") >= threshold)).to_series().to_numpy()
    from charter.spec.expression import ExpressionError, parse
    from charter.train.baseline import rule as answer

    assert rule is not None
    inputs = rows.select(pl.col(f"^{_INPUT}.*$").name.map(lambda name: name.removeprefix(_INPUT)))
    try:
        absent = sorted(set(parse(rule).names) - set(inputs.columns))
    except ExpressionError as error:
        raise UsageError(f"--rule: {error.message}", remedy=error.hint or None) from error
    if absent:
        raise UsageError(
            f"--rule names {absent[0]!r}, which the log does not hold",
            remedy=did_you_mean(absent[0], inputs.columns),
        )
    said = pl.Series("rule", answer(inputs, rule)["decision"]).cast(pl.Boolean)
    return rows.select(pl.when("fallback").then(taken).otherwise(said)).to_series().to_numpy()


def _groups(rows: pl.DataFrame, spec: ModelSpec) -> npt.NDArray[np.int64]:
    """Rows that depend on each other: of one unit of exploration, one entity, one request."""
    import polars as pl

    unit = spec.serve.explore.unit if spec.serve.explore is not None else None
    ways = [f"{_INPUT}{unit}", "entity", "id"]
    there = [pl.col(c).cast(pl.String) for c in ways if c in rows.columns]
    return rows.select(pl.coalesce(there).rank("dense").cast(pl.Int64) - 1).to_series().to_numpy()
