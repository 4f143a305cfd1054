"""The model package: which files it may hold and what its manifest says. Pure.

A package is a folder of data: ONNX, JSON, Parquet, LightGBM's text. Nothing in it is ever unpickled or run. Its digest
is that of ``manifest.json``, which names every other file with size and checksum. ``signature.json`` lies beside it and
is not part of the digest: signing does not make another package.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from charter.core.digest import Digest, canonical_json
from charter.core.errors import PackageError

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
SIGNATURE = "signature.json"
PURPOSE = "charter/package/1"

MEGABYTE = 1 << 20
MAX_TOTAL = 2048 * MEGABYTE
MAX_JSON = 64 * MEGABYTE
MAX_MANIFEST = 1 * MEGABYTE
MAX_SIGNATURE = 16 * 1024

ALLOWED: Mapping[str, int] = {
    "scoring.json": MAX_JSON,
    "decision.json": MAX_JSON,
    "profile.json": MAX_JSON,
    "evaluation.json": MAX_JSON,
    "decisions.json": MAX_JSON,
    "spec.json": MAX_JSON,
    "model.yaml": MEGABYTE,
    "card.json": MAX_JSON,
    "card.md": MAX_JSON,
    "card.html": MAX_JSON,
    "linear.json": MAX_JSON,
    "model.onnx": MAX_TOTAL,
    "lightgbm.txt": MAX_TOTAL,
    "examples.parquet": 256 * MEGABYTE,
}
"""Every file that a package may hold, with its largest size in bytes. A name that is not here is refused."""

REQUIRED = ("model.onnx", "scoring.json", "decision.json")

_HEX64 = re.compile(r"[0-9a-f]{64}")
_HEX128 = re.compile(r"[0-9a-f]{128}")
_SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a package."""

    sha256: Digest
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a package is made of and from.

    Attributes
    ----------
    name
        Of the specification.
    files
        Every file of the package but the manifest and the signature.
    digests
        ``spec``, ``snapshot``, ``features``, ``bundle``, ``evaluation``, as far as they exist.
    code_version
        `charter.registry.environment.code_version` of the build.
    environment
        `charter.registry.environment.environment` of the build.
    """

    name: str
    files: Mapping[str, FileEntry]
    digests: Mapping[str, str]
    code_version: str
    environment: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def to_bytes(self) -> bytes:
        """Canonical JSON: equal manifests give equal bytes. Holds no time, host, path or user."""
        return canonical_json(
            {
                "schema_version": self.schema_version,
                "name": self.name,
                "files": {n: {"sha256": e.sha256, "size": e.size} for n, e in self.files.items()},
                "digests": dict(self.digests),
                "code_version": self.code_version,
                "environment": dict(self.environment),
            }
        )


@dataclass(frozen=True, slots=True)
class Signature:
    """Who vouches for a manifest."""

    signer: str
    signature: str

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(
            {"schema_version": SCHEMA_VERSION, "signer": self.signer, "signature": self.signature}
        )


def signed_content(manifest: str) -> dict[str, str]:
    """Return what a signature covers: the digest of the manifest, which covers everything else."""
    return {"manifest": manifest}


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest, trusting nothing in it.

    Raises
    ------
    PackageError
        Naming the entry and the rule that it breaks.
    """
    raw = _object(
        data, MANIFEST, {"schema_version", "name", "files", "digests", "code_version", "environment"}
    )
    if raw["schema_version"] != SCHEMA_VERSION:
        raise PackageError(
            f"{MANIFEST}: schema_version is {raw['schema_version']!r}, this Charter reads {SCHEMA_VERSION}",
            remedy="Use the Charter that wrote the package, or a newer one.",
        )
    if not isinstance(raw["name"], str) or len(raw["name"]) > 64 or not _SLUG.fullmatch(raw["name"]):
        raise PackageError(f"{MANIFEST}: name {raw['name']!r} is not lower-case words joined by hyphens")
    if not isinstance(raw["code_version"], str) or not isinstance(raw["environment"], dict):
        raise PackageError(f"{MANIFEST}: code_version must be text and environment an object")
    digests = raw["digests"]
    if not isinstance(digests, dict) or not all(_is_digest(d) for d in digests.values()):
        raise PackageError(f"{MANIFEST}: digests must map names to 64 hexadecimal characters")
    if not isinstance(raw["files"], dict):
        raise PackageError(f"{MANIFEST}: files must be an object")
    files = {name: _entry(name, entry) for name, entry in raw["files"].items()}
    check_names(files)
    total = sum(entry.size for entry in files.values())
    if total > MAX_TOTAL:
        raise PackageError(
            f"{MANIFEST}: the files have {total:,} bytes together; at most {MAX_TOTAL:,} are allowed"
        )
    return Manifest(raw["name"], files, digests, raw["code_version"], raw["environment"])


def parse_signature(data: bytes) -> Signature:
    """Read a signature file, trusting nothing in it.

    Raises
    ------
    PackageError
        When it is malformed.
    """
    raw = _object(data, SIGNATURE, {"schema_version", "signer", "signature"})
    if raw["schema_version"] != SCHEMA_VERSION:
        raise PackageError(f"{SIGNATURE}: schema_version is {raw['schema_version']!r}, not {SCHEMA_VERSION}")
    signer, signature = raw["signer"], raw["signature"]
    if not isinstance(signer, str) or len(signer) > 64 or not _SLUG.fullmatch(signer):
        raise PackageError(f"{SIGNATURE}: signer {signer!r} is not the name of an identity")
    if not isinstance(signature, str) or not _HEX128.fullmatch(signature):
        raise PackageError(f"{SIGNATURE}: signature must be 128 hexadecimal characters")
    return Signature(signer, signature)


def check_names(names: Mapping[str, object]) -> None:
    """Refuse names that a package may not hold, and the lack of those that it must.

    Raises
    ------
    PackageError
        Naming the file.
    """
    for name in names:
        if name not in ALLOWED:
            raise PackageError(
                f"file {name!r} is not allowed in a package", remedy=f"Allowed: {', '.join(sorted(ALLOWED))}."
            )
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise PackageError(
            f"the package lacks {', '.join(missing)}", remedy="Build it again: `charter apply`."
        )


def _entry(name: str, raw: Any) -> FileEntry:
    if not isinstance(raw, dict) or set(raw) != {"sha256", "size"} or not _is_digest(raw["sha256"]):
        raise PackageError(f"{MANIFEST}: the entry of {name!r} must hold sha256 and size")
    size, limit = raw["size"], ALLOWED.get(name, 0)
    if type(size) is not int or size < 0:
        raise PackageError(f"{MANIFEST}: the size of {name!r} is {size!r}, not a number of bytes")
    if name in ALLOWED and size > limit:
        raise PackageError(f"{MANIFEST}: {name} has {size:,} bytes; at most {limit:,} are allowed")
    return FileEntry(Digest(raw["sha256"]), size)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _HEX64.fullmatch(value) is not None


def _object(data: bytes, file: str, keys: set[str]) -> dict[str, Any]:
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{file} is not JSON") from error
    if not isinstance(raw, dict) or set(raw) != keys:
        raise PackageError(f"{file} must hold exactly {', '.join(sorted(keys))}")
    return raw
