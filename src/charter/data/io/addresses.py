"""From the address in a specification to bytes: files here, files elsewhere, and secrets from the environment."""

from __future__ import annotations

import hashlib
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from charter.core.digest import Digest
from charter.core.errors import DataError
from charter.core.nearest import advice
from charter.data.io.filedigest import file_digest

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")
_CHUNK_BYTES = 1 << 20


def expand(text: str, environ: Mapping[str, str] | None = None) -> str:
    """Put the environment's values in place of ``${NAME}``.

    Raises
    ------
    DataError
        When a variable is not set; names it and never shows another's value.
    """
    env = os.environ if environ is None else environ

    def value(match: re.Match[str]) -> str:
        if match[1] not in env:
            raise DataError(
                f"environment variable {match[1]} is not set, and {text!r} needs it",
                remedy=f"export {match[1]}=...",
            )
        return env[match[1]]

    return _VARIABLE.sub(value, text)


def scheme(uri: str) -> str:
    """Scheme of an address in lower case; empty for a path.

    Examples
    --------
    >>> scheme("s3://bucket/a.parquet"), scheme("data/a.csv"), scheme("C:/a.csv")
    ('s3', '', '')
    """
    match = _SCHEME.match(uri)
    return match[1].lower() if match else ""


def local_path(uri: str, base: Path) -> Path | None:
    """Path of a local file, relative to ``base``; None when the address is elsewhere.

    Raises
    ------
    DataError
        When there is no such file; names the nearest one beside it.
    """
    kind = scheme(uri)
    if kind not in ("", "file"):
        return None
    path = base / Path(uri.removeprefix("file://")).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise DataError(f"{uri} is a folder", remedy="Name one file.")
    beside = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
    hint = advice(path.name, beside) if beside else f"There is no folder {path.parent}."
    raise DataError(f"{uri} is not there", remedy=f"{hint} Paths are relative to the specification.")


@contextmanager
def opened(uri: str, shown: str) -> Iterator[BinaryIO]:
    """Open a file elsewhere for reading: ``http(s)://`` through the standard library, all others through fsspec.

    Parameters
    ----------
    shown
        The address as the specification has it, without secrets, for messages.

    Raises
    ------
    DataError
        When it cannot be reached, is not there, or needs a package that is not installed.
    """
    try:
        if scheme(uri) in ("http", "https"):
            request = urllib.request.Request(uri, headers={"User-Agent": "charter"})  # noqa: S310 - scheme checked
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                yield answer
        else:
            import fsspec

            with fsspec.open(uri, "rb") as file:
                yield cast(BinaryIO, file)
    except FileNotFoundError as error:
        raise DataError(f"{shown} is not there", remedy="Check the address.") from error
    except ImportError as error:
        raise DataError(
            f"{shown} needs a package that is not installed: {error}",
            remedy="Install it, or copy the file here.",
        ) from error
    except (urllib.error.URLError, OSError) as error:
        raise DataError(
            f"{shown} cannot be read: {getattr(error, 'reason', error)}",
            remedy="Check the address, the network and your rights there.",
        ) from error
    except ValueError as error:  # fsspec: unknown protocol
        raise DataError(
            f"{shown} cannot be opened: {error}",
            remedy="Name a path, or an address that fsspec knows, such as https:// or s3://.",
        ) from error


def content_digest(uri: str, base: Path, home: Path) -> Digest:
    """Digest of the bytes at an address (with variables to expand)."""
    real = expand(uri)
    path = local_path(real, base)
    if path is not None:
        try:
            return file_digest(path, home)
        except OSError as error:
            raise DataError(f"{uri} cannot be read: {error.strerror}") from error
    digest = hashlib.sha256()
    with opened(real, uri) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return Digest(digest.hexdigest())
