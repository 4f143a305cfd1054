"""Telling people: each turn of an alert is kept once, and delivered until somebody has taken it.

An event is a file under its identifier; a second file says that it was delivered. A process killed in between leaves it
to be delivered again, with the same identifier, by which a receiver knows it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from charter.core.digest import canonical_json
from charter.core.errors import UsageError
from charter.core.io.files import write_atomic
from charter.data.io.addresses import expand
from charter.monitor.alerts import AlertEvent

SECRET = "CHARTER_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
SIGNATURE = "X-Charter-Signature"
_ATTEMPTS = 3
_TIMEOUT_SECONDS = 5.0


def remember(folder: Path, events: Sequence[AlertEvent]) -> tuple[AlertEvent, ...]:
    """Keep events that are new, and return them."""
    new = tuple(e for e in events if not (folder / f"{e.id}.json").exists())
    for event in new:
        write_atomic(folder / f"{event.id}.json", canonical_json(event.to_json()))
    return new


def deliver(folder: Path, addresses: Sequence[str], *, model: str, wait_seconds: float = 0.5) -> int:
    """Send every kept event to every address that has not taken it; what fails is tried again by the next pass.

    Parameters
    ----------
    addresses
        ``file:FOLDER``, ``https://`` of a webhook, or an address of Apprise; ``${NAME}`` is taken from the environment.
    wait_seconds
        Before the second attempt; doubles with each.

    Returns
    -------
    How many deliveries failed.
    """
    failed = 0
    for path in sorted(folder.glob("*.json")):
        event = json.loads(path.read_bytes())
        for place, address in enumerate(addresses):
            done = path.with_suffix(f".sent-{_name(address)}")
            if done.exists():
                continue
            if _attempt(address, event, model, wait_seconds):
                write_atomic(done, str(place).encode())
            else:
                failed += 1
    return failed


def _name(address: str) -> str:
    """Name of an address as the specification writes it, so that no secret stands in a file's name."""
    return hashlib.sha256(address.encode()).hexdigest()[:12]


def _attempt(address: str, event: Mapping[str, Any], model: str, wait_seconds: float) -> bool:
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(wait_seconds * 2 ** (attempt - 1))
        if _send(expand(address), {"model": model, **event}):
            return True
    return False


def _send(address: str, event: Mapping[str, Any]) -> bool:
    if address.startswith("file:"):
        write_atomic(Path(address.removeprefix("file:")) / f"{event['id']}.json", canonical_json(dict(event)))
        return True
    if address.startswith(("https://", "http://")):
        return _post(address, canonical_json(dict(event)))
    try:
        import apprise
    except ImportError as error:
        raise UsageError(
            "monitor.notify: addresses other than file: and https:// need Apprise",
            remedy="pip install 'charter-ml[monitor]'",
        ) from error
    told = apprise.Apprise()
    told.add(address)
    return bool(told.notify(title=_title(event), body=_body(event)))


def _post(address: str, body: bytes) -> bool:
    """POST JSON, signed where there is a secret: HMAC-SHA256 of the body, in hexadecimal."""
    headers = {"Content-Type": "application/json"}
    secret = os.environ.get(SECRET)
    if secret:
        headers[SIGNATURE] = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    request = urllib.request.Request(address, body, headers, method="POST")  # noqa: S310 - http(s) only, see `_send`
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
            return 200 <= int(answer.status) < 300
    except (urllib.error.URLError, OSError):
        return False


def _title(event: Mapping[str, Any]) -> str:
    return f"{event['model']} {event['version']}: {event['name']} {event['turn']}"


def _body(event: Mapping[str, Any]) -> str:
    said = [f"{event['severity']}: {event['required']}", f"observed: {event['observed']}"]
    said += [f"window from {event['window']}", event["description"]]
    return "\n".join(line for line in said if line)
