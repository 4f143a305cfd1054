"""How answers are logged and where features come from: parts of ``serve`` in a specification, as plain data."""

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


@dataclass(frozen=True, slots=True)
class StorePolicy:
    """Window features that are looked up in a store.

    Attributes
    ----------
    url
        ``sqlite:///FILE``, ``redis://``, ``rediss://`` or ``unix://``; ``${NAME}`` is taken from the environment.
    feature_set
        Digest of how the features are made; vectors under another one are not seen.
    fresh_within_s
        Oldest age in seconds at which a vector is used.
    """

    url: str
    feature_set: str
    fresh_within_s: float

    @property
    def shown(self) -> str:
        """The address for people, without secrets."""
        return without_secrets(self.url)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StorePolicy:
        """Inverse of `to_json`."""
        return cls(str(data["url"]), str(data["feature_set"]), float(data["fresh_within_s"]))


def without_secrets(url: str) -> str:
    """Scheme, host and path of an address.

    Examples
    --------
    >>> without_secrets("rediss://me:secret@cache:6380/1?password=secret")
    'rediss://cache:6380/1'
    """
    scheme, mark, rest = url.partition("?")[0].rpartition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
