"""Reading back what was written as JSON: of a version that is understood, and whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from charter.core.errors import PackageError

T = TypeVar("T")


def read_document(
    data: Mapping[str, Any], name: str, versions: tuple[int, ...], build: Callable[[Mapping[str, Any]], T]
) -> T:
    """Build something from plain data that names its schema version.

    Parameters
    ----------
    name
        What it is, for messages: "feature set".
    versions
        Schema versions that ``build`` understands, ascending.

    Raises
    ------
    PackageError
        When the version is another one, or ``build`` misses something or finds what it cannot use.

    Examples
    --------
    >>> read_document({"schema_version": 1, "x": 3}, "point", (1,), lambda data: data["x"])
    3
    """
    version = data.get("schema_version")
    if version not in versions:
        known = str(versions[0]) if len(versions) == 1 else f"{versions[0]} to {versions[-1]}"
        raise PackageError(
            f"{name} has schema version {version!r}, this Charter reads {known}",
            remedy="Use the version of Charter that wrote it, or build the package again.",
        )
    try:
        return build(data)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise PackageError(f"{name} is damaged: {error!r}") from error
