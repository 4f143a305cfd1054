"""A change of a metric as people state it: ``+10%`` of what it is, or ``-0.005`` in its own unit."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_EFFECT = re.compile(r"^\s*([-+]?)\s*(\d+\.?\d*|\.\d+)\s*(%?)\s*$")


@dataclass(frozen=True, slots=True)
class Effect:
    """A signed change, relative (0.1 is ten per cent) or in the metric's unit."""

    size: float
    relative: bool

    @classmethod
    def parse(cls, text: str) -> Effect:
        """Read ``+10%``, ``-0.5%``, ``0.005`` or ``-3``; without a sign it is a rise.

        Raises
        ------
        ValueError
            When the text is no number, or 0: a change of nothing cannot be looked for.

        Examples
        --------
        >>> Effect.parse("+10%"), str(Effect.parse("-0.005"))
        (Effect(size=0.1, relative=True), '-0.005')
        """
        match = _EFFECT.match(text)
        if match is None:
            raise ValueError(f"{text!r} is not a change; write for example '+10%', '-0.5%' or '+0.005'")
        size = float(match[2]) * (-1 if match[1] == "-" else 1)
        if size == 0 or not math.isfinite(size):
            raise ValueError(f"{text!r} is no change; write for example '+10%', '-0.5%' or '+0.005'")
        return cls(size / 100 if match[3] else size, bool(match[3]))

    @property
    def direction(self) -> float:
        """1.0 for a rise, -1.0 for a fall."""
        return math.copysign(1.0, self.size)

    def of(self, baseline: float) -> float:
        """Return the change in the metric's unit, of a metric that now is ``baseline``."""
        return self.direction * abs(self.size * baseline) if self.relative else self.size

    def __str__(self) -> str:
        return f"{self.size * 100:+.6g}%" if self.relative else f"{self.size:+.6g}"
