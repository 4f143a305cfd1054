"""The files that a scorer loads: written once by training and packaging, read by evaluation, batch and server.

``scoring.json``, ``model.onnx``, ``profile.json`` and the model's own format for exact reasons (``lightgbm.txt`` or
``linear.json``) are the *bundle*, the output of training. ``decision.json`` is added when a bundle is packaged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.core.digest import canonical_json
from charter.core.errors import PackageError
from charter.serve.types import DecisionRules, Exploration, Signature

SCHEMA_VERSION = 1
NATIVE_FILES = ("lightgbm.txt", "linear.json")
"""What may stand beside the portable model, for reasons."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder's content, parsed but not yet compiled.

    Attributes
    ----------
    classes
        Names of the classes in the order of the model's output; for binary tasks negative, positive; empty for
        regression.
    calibration
        What `train.calibrate.apply` reads, or None.
    decision
        None while the bundle is not packaged.
    intervals
        Of forecasts: what `train.conformal.ConformalIntervals` reads.
    methods
        Of forecasts that read what statistical methods say: what `train.series_methods.SeriesMethods` reads.
    cold_start
        Of forecasts: what `train.cold_start.ColdStart` reads.
    """

    name: str
    task: str
    signature: Signature
    featureset: Mapping[str, Any]
    preprocessor: Mapping[str, Any]
    calibration: Mapping[str, Any] | None
    classes: tuple[str, ...]
    model_onnx: bytes
    native: Mapping[str, bytes]
    decision: DecisionRules | None
    intervals: Mapping[str, Any] | None = None
    methods: Mapping[str, Any] | None = None
    cold_start: Mapping[str, Any] | None = None

    @property
    def reads_past_alone(self) -> bool:
        """Whether its forecasts are made of each series' own past and of nothing else."""
        if self.methods is None:
            return False
        return len(self.preprocessor["encoders"]) == len(self.methods["methods"])

    @property
    def method(self) -> str | None:
        """The statistical method that the model is; None where it is another model, or more than one method."""
        if self.methods is None or not self.reads_past_alone or len(self.methods["methods"]) > 1:
            return None
        return str(self.methods["methods"][0])


def write_bundle(
    folder: Path,
    *,
    name: str,
    task: str,
    signature: Signature,
    featureset: Mapping[str, Any],
    preprocessor: Mapping[str, Any],
    calibration: Mapping[str, Any] | None,
    classes: Sequence[str],
    model_onnx: bytes,
    native: Mapping[str, bytes],
    profile: Mapping[str, Any] | None,
    intervals: Mapping[str, Any] | None = None,
    methods: Mapping[str, Any] | None = None,
    cold_start: Mapping[str, Any] | None = None,
) -> None:
    """Write a bundle; equal arguments give equal bytes.

    Parameters
    ----------
    featureset, preprocessor, calibration, profile, intervals, methods, cold_start
        The ``to_json`` forms.
    native
        File name (one of `NATIVE_FILES`) to content.

    Raises
    ------
    ValueError
        For a file name that no scorer would read, or a number that JSON cannot hold.
    """
    unknown = sorted(set(native) - set(NATIVE_FILES))
    if unknown:
        raise ValueError(f"bundle: {unknown[0]!r} is not among {', '.join(NATIVE_FILES)}")
    scoring = {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "task": task,
        **signature.to_json(),
        "featureset": featureset,
        "preprocessor": preprocessor,
        "calibration": calibration,
        "classes": list(classes),
        **({"intervals": intervals} if intervals is not None else {}),
        **({"methods": methods} if methods is not None else {}),
        **({"cold_start": cold_start} if cold_start is not None else {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scoring.json").write_bytes(canonical_json(scoring))
    (folder / "model.onnx").write_bytes(model_onnx)
    for file, content in sorted(native.items()):
        (folder / file).write_bytes(content)
    if profile is not None:
        (folder / "profile.json").write_bytes(canonical_json(profile))


def decision_bytes(rules: DecisionRules) -> bytes:
    """Content of ``decision.json``; equal rules give equal bytes."""
    return canonical_json(rules.to_json())


def write_decision(
    folder: Path,
    *,
    threshold: float | None,
    bands: Mapping[str, float],
    reasons: int,
    reasons_for: str,
    factors: Mapping[str, str],
    fallback: Mapping[str, Any] | None,
    explore: Exploration | None = None,
) -> None:
    """Write ``decision.json`` beside a bundle."""
    rules = DecisionRules(threshold, bands, reasons, reasons_for, factors, fallback, explore)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "decision.json").write_bytes(decision_bytes(rules))


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle or an unpacked package. Verifying who made it is the registry's part, and comes first.

    Raises
    ------
    PackageError
        When a file is missing, is not what its name says, or is of a newer schema.
    """
    scoring = _json(folder / "scoring.json")
    decision = _json(folder / "decision.json") if (folder / "decision.json").exists() else None
    try:
        return Bundle(
            name=scoring["name"],
            task=scoring["task"],
            signature=Signature.from_json(scoring),
            featureset=scoring["featureset"],
            preprocessor=scoring["preprocessor"],
            calibration=scoring["calibration"],
            classes=tuple(scoring["classes"]),
            model_onnx=_bytes(folder / "model.onnx"),
            native={f: _bytes(folder / f) for f in NATIVE_FILES if (folder / f).exists()},
            decision=DecisionRules.from_json(decision) if decision is not None else None,
            intervals=scoring.get("intervals"),
            methods=scoring.get("methods"),
            cold_start=scoring.get("cold_start"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PackageError(
            f"{folder.name}: scoring.json or decision.json lacks or garbles {error}",
            remedy="Build the package again with `charter apply`.",
        ) from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PackageError(
            f"{path.parent.name}: {path.name} cannot be read: {error.strerror}",
            remedy="Build the package again with `charter apply`.",
        ) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{path.parent.name}: {path.name} is not JSON: {error}") from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise PackageError(
            f"{path.parent.name}: {path.name} has schema_version {version!r}; this program reads {SCHEMA_VERSION}",
            remedy="Serve it with the version of Charter that built it, or build it again.",
        )
    return dict(data)
