"""What a model was made with: Python, platform, installed distributions, and the code of Charter itself."""

from __future__ import annotations

import hashlib
import platform
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

from charter import __version__
from charter.core.digest import Digest

RUNTIME = ("lightgbm", "numpy", "onnxruntime", "polars")
"""Distributions whose version can change a score."""


def environment() -> dict[str, Any]:
    """Describe this interpreter and what is installed, naming neither host, path nor user.

    What a library carries within itself (Ray does) and puts on the path once it is imported, is not installed.

    Returns
    -------
    dict
        ``python``, ``implementation``, ``system``, ``machine`` and ``distributions`` (name to version, sorted).
    """
    found = {}
    libraries = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}
    places = [place for place in sys.path if libraries.isdisjoint(Path(place).parents)]
    for distribution in distributions(path=places):
        name = distribution.metadata["Name"]
        if name:
            found[name.lower().replace("_", "-")] = distribution.version
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "system": sys.platform,
        "machine": platform.machine(),
        "distributions": dict(sorted(found.items())),
    }


@cache
def runtime() -> dict[str, Any]:
    """Describe only what can change a score here; in the form of `environment`, and cheap."""
    found = {}
    for name in RUNTIME:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return {"machine": platform.machine(), "distributions": found}


@cache
def code_version() -> str:
    """Charter's version and the digest of its own source: ``0.1.0+3f2a91c04d7e``.

    Two trees of the same version whose sources differ by one byte are different code.
    """
    root = Path(__file__).parent.parent
    return f"{__version__}+{source_digest(root, root.rglob('*.py'))[:12]}"


def source_digest(root: Path, files: Iterable[Path]) -> Digest:
    """Digest of source files by relative name and content; the order in which they are found does not matter."""
    whole = hashlib.sha256()
    for path in sorted(files):
        whole.update(path.relative_to(root).as_posix().encode() + b"\0")
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return Digest(whole.hexdigest())


def mismatches(packaged: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Name what differs between a package's environment and this one, where it can change a score.

    Examples
    --------
    >>> mismatches({"distributions": {"numpy": "2.1.0"}}, {"distributions": {"numpy": "2.2.0"}})
    ['numpy: packaged with 2.1.0, here 2.2.0']
    """
    found = []
    if packaged.get("machine") not in (None, here.get("machine")):
        found.append(f"machine: packaged on {packaged.get('machine')}, here {here.get('machine')}")
    then, now = packaged.get("distributions", {}), here.get("distributions", {})
    return found + [
        f"{name}: packaged with {then[name]}, here {now.get(name, 'not installed')}"
        for name in RUNTIME
        if name in then and then[name] != now.get(name)
    ]
