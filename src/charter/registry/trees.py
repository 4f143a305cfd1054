"""Trees of blobs: what a stage leaves behind, as a map from file name to digest. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from charter.core.digest import Digest, canonical_json
from charter.core.errors import PackageError

SCHEMA = 1
MAX_FILES = 10_000

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def safe_name(name: str) -> bool:
    """Whether a relative file name can leave its folder by no trick: plain segments, no dots in front.

    Examples
    --------
    >>> safe_name("orders.parquet"), safe_name("../orders"), safe_name("/etc/passwd"), safe_name("a/.hidden")
    (True, False, False, False)
    """
    segments = name.split("/")
    return len(segments) <= 8 and all(_SEGMENT.fullmatch(s) and not s.endswith(".") for s in segments)


def tree_bytes(files: Mapping[str, str]) -> bytes:
    """Write a tree; equal trees give equal bytes.

    Raises
    ------
    PackageError
        When a name is unsafe.
    """
    for name in files:
        if not safe_name(name):
            raise PackageError(
                f"file name {name!r} is not allowed in a tree",
                remedy="Use letters, digits, '_', '-' and '.', in at most 8 folders.",
            )
    return canonical_json({"schema": SCHEMA, "files": dict(files)})


def parse_tree(data: bytes) -> dict[str, Digest]:
    """Read a tree, trusting nothing in it.

    Raises
    ------
    PackageError
        When it is not a tree, or holds an unsafe name or something that is no digest.
    """
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PackageError("this blob is not a tree: it is not JSON") from error
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA or not isinstance(tree.get("files"), dict):
        raise PackageError(f"this blob is not a tree of schema {SCHEMA}")
    files: dict[str, Digest] = {}
    if len(tree["files"]) > MAX_FILES:
        raise PackageError(f"tree holds {len(tree['files'])} files; at most {MAX_FILES} are allowed")
    for name, digest in tree["files"].items():
        if not safe_name(name):
            raise PackageError(f"tree holds the unsafe file name {name!r}")
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise PackageError(f"tree entry {name!r} has no valid digest: {digest!r}")
        files[name] = Digest(digest)
    return files
