"""What if: a released forecast under other prices and promotions, and how demand answers to prices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charter.core.errors import UsageError
from charter.core.nearest import advice
from charter.flow.outlook import Outlook, forecast, rows_ahead

if TYPE_CHECKING:
    import polars as pl

    from charter.evaluate.elasticity import Elasticity
    from charter.serve.question import Change
    from charter.serve.whatif import Effect

_ANSWER = ("as_of", "forecast", "lower", "upper", "new")


@dataclass(frozen=True)
class Answer:
    """Forecasts before and after a change.

    Attributes
    ----------
    origin
        First period that is not known.
    replayed
        Whether the rows are of the past, because none of the future were given.
    before, after
        Rows with ``series``, keys, ``step``, ``target``, ``forecast``, ``lower``, ``upper``; the same rows.
    effects
        Sums of the difference; empty without a change.
    share
        What the intervals promise.
    warnings
        Where the question leaves what the model has seen.
    """

    origin: str
    replayed: bool
    before: pl.DataFrame
    after: pl.DataFrame
    effects: Sequence[Effect]
    share: float
    warnings: Sequence[str]


def changes_of(outlook: Outlook, texts: Sequence[str]) -> list[Change]:
    """Read what is to be changed."""
    from charter.serve.question import read_changes
    from charter.spec.scope import known_columns

    plan = outlook.plan
    known = outlook.known_ahead
    derived = known_columns(outlook.spec.data).derived
    return [
        change
        for text in texts
        for change in read_changes(
            text,
            known_ahead=known,
            derived=derived,
            columns=[*plan.keys, *known],
            every=plan.every,
            horizon=plan.horizon,
        )
    ]


def what_if(
    outlook: Outlook,
    inputs: pl.DataFrame,
    texts: Sequence[str],
    *,
    replayed: bool = False,
    where: str | None = None,
    by: Sequence[str] = (),
) -> Answer:
    """Forecast rows as they are and as they would be.

    Parameters
    ----------
    texts
        Changes, see `charter.serve.question`; none answers with the forecast alone.
    where
        Condition on the rows that are answered for; the change itself is made in all rows it names.
    by
        Columns by whose values the difference is summed, too.
    """
    from charter.evaluate.effect import EffectSpread
    from charter.serve.whatif import change_rows, effects, unseen

    changes = changes_of(outlook, texts)
    if changes:
        _refuse_past_alone(outlook)
    before = forecast(outlook, inputs)
    refuse_groups(by, before.columns)
    assert outlook.scorer.series is not None
    notes = [] if replayed else outlook.scorer.series.notes(inputs)
    after, warnings, found = before, [*notes, *_without_past(before)], []
    shown = _where(before, where)
    if not changes and not replayed:
        warnings += _counted(outlook.scorer.seen.warn(inputs))
    if changes:
        changed = change_rows(before.select(*inputs.columns, "series", "step"), changes)
        _refuse_broken(outlook, changed.select(inputs.columns), texts)
        warnings += list(unseen(before, changed, outlook.history, outlook.known_ahead))
        after = forecast(outlook, changed.select(inputs.columns))
        warnings += _outside(outlook, inputs, changed.select(inputs.columns))
        effect = outlook.decisions.get("effect")
        spread = (
            EffectSpread.from_json(effect)
            if effect
            else EffectSpread(outlook.spec.train.interval, (), (), ())
        )
        if effect is None:
            warnings.append("the differences have no interval: the release learned none from its past")
        found = effects(before.filter(shown), after.filter(shown), spread, by=by)
    origin = str(before["as_of"][0]).removesuffix(" 00:00:00")
    return Answer(
        origin,
        replayed,
        before.filter(shown),
        after.filter(shown),
        found,
        outlook.spec.train.interval,
        warnings,
    )


def refuse_groups(by: Sequence[str], columns: Sequence[str]) -> None:
    """Refuse to sum by what is no column of the rows to be forecast; those of the answer are none."""
    groups = [c for c in columns if c not in _ANSWER]
    for column in by:
        if column not in groups:
            raise UsageError(
                f"--by {column}: no column of what is forecast is called so",
                remedy=advice(column, groups, limit=len(groups)),
            )


def _refuse_past_alone(outlook: Outlook) -> None:
    """A model that reads no price cannot say what another one would do."""
    bundle = outlook.scorer.bundle
    if bundle.reads_past_alone:
        methods = ", ".join(bundle.methods["methods"] if bundle.methods else ())
        raise UsageError(
            f"{outlook.name} {outlook.version} forecasts each series from its own past ({methods}); it reads no price "
            "and no promotion, and cannot say what another one would do",
            remedy="Ask a version that was learned from features, such as one by lightgbm.",
        )


def _without_past(frame: pl.DataFrame) -> list[str]:
    without = frame.filter(frame["new"])
    new = without["series"].unique().sort()
    if new.is_empty():
        return []
    then = (
        "neither they nor sums with them have an interval"
        if without["lower"].null_count()
        else "they are forecast as series like them, and their intervals and those of sums with them are wider"
    )
    return [f"{new.len():,} series have no past (such as {', '.join(new.head(3))}): {then}"]


def _refuse_broken(outlook: Outlook, changed: pl.DataFrame, texts: Sequence[str]) -> None:
    """A value that the contract rules out is no answerable question, as it is no answerable request."""
    from charter.serve.batch import Contract

    _, reasons, _ = Contract(outlook.scorer.signature.inputs).judge(changed)
    if reasons is not None:
        told = reasons.explode().drop_nulls().unique(maintain_order=True)
        raise UsageError(
            f"--set {', '.join(map(repr, texts))} breaks the contract: {'; '.join(told.head(3))}",
            remedy="Ask for a value that the column can have.",
        )


def _where(frame: pl.DataFrame, where: str | None) -> pl.Series:
    import polars as pl

    from charter.features.expressions import columns_of, compile_expression
    from charter.spec.expression import ExpressionError

    if where is None:
        return pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True)
    try:
        names = columns_of(where)
        for name in names:
            if name not in frame.columns:
                raise UsageError(
                    f"--where {where!r}: there is no column {name!r}", remedy=advice(name, frame.columns)
                )
        held = frame.select(compile_expression(where).cast(pl.Boolean).fill_null(False)).to_series()
    except (ExpressionError, pl.exceptions.PolarsError) as error:
        raise UsageError(
            f"--where {where!r}: {str(error).splitlines()[0]}", remedy="Write a condition: store = '5'."
        ) from error
    if not held.any():
        raise UsageError(f"--where {where!r} holds for no row to be forecast")
    return held


def _outside(outlook: Outlook, before: pl.DataFrame, after: pl.DataFrame) -> list[str]:
    """Warnings that the change brings, each once with the rows it is of."""
    had = dict.fromkeys(outlook.scorer.warn(before))
    return _counted(pair for pair in outlook.scorer.warn(after) if pair not in had)


def _counted(told: Iterable[tuple[int, str]]) -> list[str]:
    """Each warning once, with the rows it is of; the first few."""
    counts = Counter(text for _, text in told)
    return [f"{text} ({rows:,} rows)" for text, rows in list(counts.items())[:5]]


def price_elasticities(
    outlook: Outlook, *, price: str, by: str, cluster: str | None, controls: Sequence[str], model: bool
) -> list[Elasticity]:
    """Estimate price elasticities from the released history, and read them off the model beside it.

    Parameters
    ----------
    price
        A column of the source, in money per unit.
    by
        A column of the series: one elasticity for each of its values.
    cluster
        Column whose rows are not independent; the first other column of the series when left out.
    model
        Whether the model is asked, too: each group's forecasts with its price 10 % higher and 10 % lower.
    """
    import polars as pl

    from charter.evaluate.elasticity import elasticities, model_elasticity

    plan, history = outlook.plan, outlook.history
    cluster = cluster or next((k for k in plan.keys if k != by), "series")
    for name in (price, by, cluster, *controls):
        if name not in history.columns:
            raise UsageError(f"there is no column {name!r}", remedy=advice(name, history.columns))
    said: dict[str, float] = {}
    if model:
        _refuse_past_alone(outlook)
        inputs, _ = rows_ahead(outlook, None)
        for group in history[by].cast(pl.String).unique().drop_nulls().sort().to_list():
            quoted = group.replace("'", "''")
            frames = []
            for factor in (1.1, 0.9):
                answer = what_if(outlook, inputs, [f"{price} of {by} '{quoted}' = {price} * {factor}"])
                frames.append(answer.after.filter(pl.col(by).cast(pl.String) == group))
            said |= model_elasticity(frames[0], frames[1], by=by, ratio=1.1 / 0.9)
    frame = history.with_columns(pl.col(plan.label).cast(pl.Float64).alias("actual"))
    return elasticities(
        frame,
        by=by,
        price=price,
        cluster=cluster,
        controls=controls,
        model=said,
        confidence=outlook.spec.evaluate.confidence,
    )
