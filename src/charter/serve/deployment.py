"""What a server serves, as a file: written by the flow, read by the server and its workers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charter.core.errors import UsageError
from charter.registry.traffic import Traffic
from charter.serve.policy import LogPolicy, StorePolicy

SCHEMA_VERSION = 2
"""The first had no traffic; it is still read."""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
"""Names and versions are folders of the log and of what the monitor keeps."""


@dataclass(frozen=True, slots=True)
class DeployedModel:
    """One version of one model.

    Attributes
    ----------
    name, version
        As in the route and in answers, for example ``credit-risk`` and ``v3``.
    package
        Folder of a signed package.
    history
        Per source of events its Parquet file; models of entities need it.
    trusted_keys
        Name of a signer to public key (64 hexadecimal characters). The package must be signed by one of them.
    log
        What of each answer is kept, where the deployment names a log.
    features
        The store that window features are looked up in; None computes them from ``history``.
    deadline_s
        Seconds after which the fallback answers for the model; None leaves that to the server.

    Raises
    ------
    UsageError
        When the name or the version is none, or the deadline is not finite and above 0.
    """

    name: str
    version: str
    package: Path
    history: Mapping[str, Path] = field(default_factory=dict)
    trusted_keys: Mapping[str, str] = field(default_factory=dict)
    log: LogPolicy = field(default_factory=LogPolicy)
    features: StorePolicy | None = None
    deadline_s: float | None = None

    def __post_init__(self) -> None:
        for what, text in (("name", self.name), ("version", self.version)):
            if _PLAIN.fullmatch(text) is None:
                raise UsageError(
                    f"{text[:80]!r} is no {what} of a model",
                    remedy="It is letters, digits, '_', '.' and '-', 128 at most, and begins with a letter or digit.",
                )
        if self.deadline_s is not None and not (math.isfinite(self.deadline_s) and self.deadline_s > 0):
            raise UsageError(
                f"the deadline of {self.name} is {self.deadline_s} s", remedy="Give seconds above 0, or none."
            )


@dataclass(frozen=True, slots=True)
class Deployment:
    """The models that one server serves; of several versions of a name the first answers at its plain route.

    Attributes
    ----------
    log
        Folder of the prediction log and the profile counters; None keeps neither.
    traffic
        By name of a model, who answers at its plain route; the champion answers everything where nothing is said.

    Raises
    ------
    UsageError
        When a version is there twice, or traffic does not fit the models.
    """

    models: tuple[DeployedModel, ...]
    log: Path | None = None
    traffic: Mapping[str, Traffic] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [f"{m.name} {m.version}" for m in self.models]
        if not names or len(set(names)) != len(names):
            raise UsageError(
                f"a deployment needs models of different names or versions; this one has {names}"
            )
        for name, traffic in self.traffic.items():
            there = [m.version for m in self.models if m.name == name]
            if lacking := [v for v in traffic.versions if v not in there]:
                raise UsageError(f"traffic of {name} needs {lacking[0]}, which the deployment does not hold")
            if there[0] != traffic.champion:
                raise UsageError(
                    f"the first version of {name} is {there[0]}, but its champion is {traffic.champion}",
                    remedy="Name the champion's package first.",
                )

    @property
    def answering(self) -> tuple[DeployedModel, ...]:
        """Models that may be asked; not candidates that only see requests, which must not be able to break a worker."""
        return tuple(model for model in self.models if not self._watches(model))

    @property
    def watching(self) -> tuple[DeployedModel, ...]:
        """Candidates that only see requests after they were answered."""
        return tuple(model for model in self.models if self._watches(model))

    def _watches(self, model: DeployedModel) -> bool:
        tried = self.traffic.get(model.name)
        return tried is not None and tried.stage == "shadow" and tried.candidate == model.version

    def to_json(self) -> dict[str, Any]:
        """Plain data, with absolute paths."""
        return {
            "schema_version": SCHEMA_VERSION,
            "traffic": {name: traffic.to_json() for name, traffic in sorted(self.traffic.items())},
            "log": str(self.log.absolute()) if self.log is not None else None,
            "models": [
                {
                    "name": m.name,
                    "version": m.version,
                    "package": str(m.package.absolute()),
                    "history": {name: str(path.absolute()) for name, path in sorted(m.history.items())},
                    "trusted_keys": dict(sorted(m.trusted_keys.items())),
                    "log": m.log.to_json(),
                    "features": m.features.to_json() if m.features is not None else None,
                    "deadline_s": m.deadline_s,
                }
                for m in self.models
            ],
        }

    @classmethod
    def from_json(cls, data: Any, base: Path) -> Deployment:
        """Inverse of `to_json`; relative paths are taken from ``base``.

        Raises
        ------
        UsageError
            When the data is no deployment.
        """
        try:
            if data["schema_version"] not in (1, SCHEMA_VERSION):
                raise UsageError(
                    f"deployment has schema_version {data['schema_version']!r}; this program reads {SCHEMA_VERSION}"
                )
            traffic = {str(name): Traffic.from_json(t) for name, t in (data.get("traffic") or {}).items()}
            models = tuple(
                DeployedModel(
                    str(m["name"]),
                    str(m["version"]),
                    base / m["package"],
                    {str(k): base / v for k, v in m.get("history", {}).items()},
                    {str(k): str(v) for k, v in m.get("trusted_keys", {}).items()},
                    LogPolicy.from_json(m.get("log", {})),
                    StorePolicy.from_json(m["features"]) if m.get("features") else None,
                    float(m["deadline_s"]) if m.get("deadline_s") is not None else None,
                )
                for m in data["models"]
            )
            log = base / data["log"] if data.get("log") is not None else None
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UsageError(
                f"deployment lacks or garbles {error}", remedy="Write it again with `charter serve`."
            ) from error
        return cls(models, log, traffic)


def parse_deployment(text: str, base: Path) -> Deployment:
    """Read a deployment file's text.

    Raises
    ------
    UsageError
        When it is not JSON or no deployment.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"deployment is not JSON: {error}") from error
    return Deployment.from_json(data, base)
