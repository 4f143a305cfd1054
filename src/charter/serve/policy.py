"""What of each answer is kept: the part ``serve.log`` of a specification, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Mode = Literal["durable", "relaxed", "none"]
Personal = Literal["drop", "hash", "keep"]


@dataclass(frozen=True, slots=True)
class LogPolicy:
    """How predictions are logged.

    Attributes
    ----------
    mode
        ``durable``: on disk before the answer goes; where that fails, the answer is 503. ``relaxed``: handed to the
        operating system within 100 ms, so that it survives the end of the process, though not of the machine; where
        that fails, answers go on with a warning. ``none``: nothing is logged.
    personal
        Inputs of sensitivity ``personal`` are absent, a keyed hash, or kept.
    inputs
        Whether inputs are logged at all.
    """

    mode: Mode = "relaxed"
    personal: Personal = "hash"
    inputs: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LogPolicy:
        """Inverse of `to_json`; what is left out has its default.

        Raises
        ------
        ValueError
            For a word that is none of the field's.
        """
        policy = cls(**data)
        allowed = {"mode": ("durable", "relaxed", "none"), "personal": ("drop", "hash", "keep")}
        for name, words in allowed.items():
            if getattr(policy, name) not in words:
                raise ValueError(f"log.{name} is {getattr(policy, name)!r}, none of {', '.join(words)}")
        return policy
