"""What the decisions are worth, outcome by outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from charter.core.quantity import parse_volume
from charter.spec.types import Value

_OUTCOMES = {"tp": "true_positive", "fp": "false_positive", "fn": "false_negative", "tn": "true_negative"}


@dataclass(frozen=True, slots=True)
class OutcomeWorth:
    """One kind of outcome: how often on the test rows, what one is worth, what a month of them is worth."""

    outcome: str
    count: int
    worth: float
    per_month: float


@dataclass(frozen=True, slots=True)
class ValueReport:
    """Where the value comes from.

    Attributes
    ----------
    net_value
        Mean worth of a decision.
    net_value_per_month
        ``net_value x decisions_per_month - costs_per_month``.
    without_model_per_month
        Worth of flagging nobody, without the model's costs.
    """

    currency: str
    decisions_per_month: float
    costs_per_month: float
    outcomes: tuple[OutcomeWorth, ...]
    net_value: float
    net_value_per_month: float
    without_model_per_month: float


def value_report(confusion: Mapping[str, int], value: Value) -> ValueReport | None:
    """Break the net value down; None without rows.

    Parameters
    ----------
    confusion
        Counts ``tp``, ``fp``, ``fn``, ``tn``.
    """
    n = sum(confusion[cell] for cell in _OUTCOMES)
    if n == 0:
        return None
    volume = parse_volume(value.volume)
    worth = {cell: float(getattr(value.per_decision, name)) for cell, name in _OUTCOMES.items()}
    outcomes = tuple(
        OutcomeWorth(name, confusion[cell], worth[cell], confusion[cell] / n * worth[cell] * volume)
        for cell, name in _OUTCOMES.items()
    )
    mean = sum(confusion[cell] * worth[cell] for cell in _OUTCOMES) / n
    nobody = (
        (confusion["tp"] + confusion["fn"]) * worth["fn"] + (confusion["fp"] + confusion["tn"]) * worth["tn"]
    ) / n
    costs = value.costs.run_per_month + value.costs.train_per_month
    return ValueReport(
        currency=value.currency,
        decisions_per_month=volume,
        costs_per_month=costs,
        outcomes=outcomes,
        net_value=mean,
        net_value_per_month=mean * volume - costs,
        without_model_per_month=nobody * volume,
    )
