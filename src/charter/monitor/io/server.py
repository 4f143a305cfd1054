"""Asking a server for its metrics, and keeping what it said."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path

from charter.core.clock import iso
from charter.core.digest import canonical_json
from charter.core.errors import UsageError
from charter.core.io.files import write_atomic
from charter.monitor.server import Sample, read_sample

_TIMEOUT_SECONDS = 5.0
_MOST_BYTES = 32 << 20


def ask(url: str, model: str, now: datetime) -> Sample:
    """Ask once; a server that does not answer is an answer, too.

    Raises
    ------
    UsageError
        When the address is none of a web server, or what stands there are no metrics.
    """
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"--metrics-url is {url!r}; it must begin with http:// or https://")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - http(s) only, see above
            text = answer.read(_MOST_BYTES).decode()
    except (urllib.error.URLError, OSError, UnicodeDecodeError):
        return Sample(iso(now), reached=False)
    try:
        return read_sample(text, model, iso(now))
    except ValueError as error:
        raise UsageError(
            f"--metrics-url: {url} gives no metrics of Prometheus: {error}",
            remedy="Name the server's /metrics, such as http://localhost:8000/metrics.",
        ) from error


def keep(folder: Path, sample: Sample) -> None:
    """Keep a look under its moment."""
    write_atomic(folder / f"{sample.at.replace(':', '')}.json", canonical_json(sample.to_json()))


def kept(folder: Path) -> list[Sample]:
    """All looks, oldest first."""
    return [Sample(**json.loads(path.read_bytes())) for path in sorted(folder.glob("*.json"))]
