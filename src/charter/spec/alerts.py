"""The language of alert rules: a measure, a limit, a condition under which it counts, and for how long.

``MEASURE OP NUMBER [when MEASURE OP NUMBER] [for N windows | for DURATION]``; a measure is a word, with a column or
``any`` in brackets where it is one of many: ``psi(any)``, ``missing_share(AGE)``, ``estimated(roc_auc)``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from charter.core.quantity import Requirement, parse_duration

ANY = "any"

_NUMBER = r"[-+]?(?:\d+(?:_\d+)*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_MEASURE = r"[a-z][a-z0-9_]*(?:\(\s*[^()\s][^()]*\))?"
_CONDITION = rf"({_MEASURE})\s*(>=|<=|==|>|<)\s*({_NUMBER})"
_RULE = re.compile(
    rf"\s*{_CONDITION}(?:\s+when\s+{_CONDITION})?(?:\s+for\s+(?:(\d+)\s+windows?|(\d+\s*[smhdw])))?\s*"
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A measure held against a number: true is bad news."""

    measure: str
    of: str | None
    limit: Requirement

    def __str__(self) -> str:
        return f"{self.name} {self.limit}"

    @property
    def name(self) -> str:
        """The measure as it is written."""
        return self.measure if self.of is None else f"{self.measure}({self.of})"


@dataclass(frozen=True, slots=True)
class AlertRule:
    """A parsed rule.

    Attributes
    ----------
    when
        The rule counts only where this holds.
    windows
        How many windows in a row it must be true.
    lasting
        How long it must have been true; None where windows are counted.
    """

    condition: Condition
    when: Condition | None
    windows: int
    lasting: timedelta | None

    @classmethod
    def parse(cls, text: str) -> AlertRule:
        """Read a rule.

        Raises
        ------
        ValueError
            When it is none; says how one is written.

        Examples
        --------
        >>> str(AlertRule.parse("psi( any )>0.2 for 2 windows"))
        'psi(any) > 0.2 for 2 windows'
        >>> AlertRule.parse("recall < 0.8 when maturity > 0.6").when.name
        'maturity'
        """
        found = _RULE.fullmatch(text)
        if found is None:
            raise ValueError(
                "must read like 'recall < 0.8 when maturity > 0.6' or 'psi(any) > 0.2 for 2 windows' or "
                "'p95_latency_ms > 150 for 5m'"
            )
        measure, sign, number, other, other_sign, other_number, windows, lasting = found.groups()
        if windows is not None and int(windows) < 1:
            raise ValueError("must last for at least 1 window")
        when = _condition(other, other_sign, other_number) if other is not None else None
        return cls(
            _condition(measure, sign, number),
            when,
            int(windows) if windows is not None else 1,
            parse_duration(lasting.replace(" ", "")) if lasting is not None else None,
        )

    def __str__(self) -> str:
        text = str(self.condition)
        if self.when is not None:
            text += f" when {self.when}"
        if self.lasting is not None:
            text += f" for {_duration(self.lasting)}"
        elif self.windows > 1:
            text += f" for {self.windows} windows"
        return text


def _condition(measure: str, sign: str, number: str) -> Condition:
    word, _, rest = measure.partition("(")
    of = rest.removesuffix(")").strip() or None
    return Condition(word, of, Requirement.parse(f"{sign} {number.replace('_', '')}"))


def _duration(span: timedelta) -> str:
    seconds = round(span.total_seconds())
    for unit, size in (("w", 604_800), ("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
