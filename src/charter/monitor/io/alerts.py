"""Telling people: each turn of an alert and each notice is kept once, and sent until somebody has taken it.

A turn is a file under its identifier, and so is a notice, which is written before it is sent; one more file says that
an address has taken it. A process killed in between leaves it to be sent again, with the same identifier, by which a
receiver knows it.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from charter.core.digest import canonical_json
from charter.core.errors import UsageError
from charter.core.io.files import write_atomic
from charter.data.io.addresses import expand
from charter.monitor.alerts import AlertEvent
from charter.monitor.notices import Notice

SECRET = "CHARTER_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
SIGNATURE = "X-Charter-Signature"
_ATTEMPTS = 3
_TIMEOUT_SECONDS = 5.0
_DEADLINE_SECONDS = 10.0
"""Of a delivery as a whole."""
_MUTED = ".muted"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A notice that an address has not taken.

    Attributes
    ----------
    address
        As the specification writes it.
    """

    notice: Notice
    address: str


def remember(folder: Path, events: Sequence[AlertEvent]) -> tuple[AlertEvent, ...]:
    """Keep turns that are new, and return them."""
    new = tuple(e for e in events if not (folder / f"{e.id}.json").exists())
    for event in new:
        write_atomic(folder / f"{event.id}.json", canonical_json(event.to_json()))
    return new


def mute(folder: Path, ids: Iterable[str]) -> frozenset[str]:
    """Keep which turns fell into a silence, and return all that ever did."""
    before = frozenset(p.name.removesuffix(_MUTED) for p in folder.glob(f"*{_MUTED}"))
    new = frozenset(ids) - before
    for one in sorted(new):
        write_atomic(folder / f"{one}{_MUTED}", b"")
    return before | new


def keep(folder: Path, notices: Sequence[Notice]) -> None:
    """Write notices down, to be sent."""
    for notice in notices:
        write_atomic(folder / f"{notice.id}.json", canonical_json(notice.to_json()))


def notices(folder: Path) -> list[Notice]:
    """Every notice so far, oldest first."""
    found = [Notice.from_json(json.loads(path.read_bytes())) for path in folder.glob("*.json")]
    return sorted(found, key=lambda n: (n.at, n.id))


def waiting(folder: Path, addresses: Sequence[str]) -> list[Waiting]:
    """What has not been taken yet, oldest first."""
    return [
        Waiting(notice, address)
        for notice in notices(folder)
        for address in addresses
        if not _taken(folder, notice, address).exists()
    ]


def deliver(folder: Path, addresses: Sequence[str], *, wait_seconds: float = 0.5) -> int:
    """Send every notice to every address that has not taken it; what fails is tried again by the next pass.

    An address that does not answer is left alone for the rest of this pass, so that it delays nobody else.

    Parameters
    ----------
    addresses
        ``file:FOLDER``, ``https://`` of a webhook, or an address of Apprise; ``${NAME}`` is taken from the environment.
    wait_seconds
        Before the second attempt; doubles with each.

    Returns
    -------
    How many deliveries are still to be made.

    Raises
    ------
    UsageError
        When an address cannot be used at all; all others were served by then.
    """
    left, silent = 0, set()
    unusable: UsageError | None = None
    for one in waiting(folder, addresses):
        taken = False
        if one.address not in silent:
            try:
                taken = _attempt(one, wait_seconds)
            except UsageError as error:
                unusable = unusable or error
        if taken:
            write_atomic(_taken(folder, one.notice, one.address), b"")
        else:
            silent.add(one.address)
            left += 1
    if unusable is not None:
        raise unusable
    return left


def place(address: str) -> str:
    """Name an address for people without what may be secret in it.

    Examples
    --------
    >>> place("https://eva:pass@hooks.example.org/T0/B1"), place("slack://a/b/c"), place("file:/var/spool/charter")
    ('https://hooks.example.org', 'slack', 'file:/var/spool/charter')
    """
    if address.startswith("file:"):
        return address
    scheme, _, rest = address.partition("://")
    host = rest.partition("/")[0].rpartition("@")[2]
    return f"{scheme}://{host}" if scheme in ("http", "https") else scheme


def _taken(folder: Path, notice: Notice, address: str) -> Path:
    """Mark of an address, named by its digest, so that no secret stands in a file's name."""
    return folder / f"{notice.id}.sent-{hashlib.sha256(address.encode()).hexdigest()[:12]}"


def _attempt(one: Waiting, wait_seconds: float) -> bool:
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(wait_seconds * 2 ** (attempt - 1))
        if _send(expand(one.address), one.notice):
            return True
    return False


def _send(address: str, notice: Notice) -> bool:
    content = canonical_json(notice.to_json())
    if address.startswith("file:"):
        try:
            write_atomic(Path(address.removeprefix("file:")) / f"{notice.id}.json", content)
        except OSError:  # a full disk, a folder that is gone: as an address that does not answer
            return False
        return True
    if address.startswith(("https://", "http://")):
        return _in_time(lambda: _post(address, content))
    try:
        import apprise
    except ImportError as error:
        raise UsageError(
            "monitor.notify: addresses other than file: and https:// need Apprise",
            remedy="pip install 'charter-ml[monitor]'",
        ) from error
    told = apprise.Apprise()
    told.add(address)
    return _in_time(lambda: bool(told.notify(title=notice.title, body=notice.body)))


def _in_time(send: Callable[[], bool]) -> bool:
    """Whether somebody took a message within `_DEADLINE_SECONDS`, however slowly its answer drips.

    A limit of the socket holds for each read alone. So the sending is left to a thread that is not waited for: it ends
    when the other side does, or with this process.
    """
    taken: list[bool] = []
    sending = threading.Thread(target=lambda: taken.append(send()), daemon=True)
    sending.start()
    sending.join(_DEADLINE_SECONDS)
    return taken == [True]


def _post(address: str, body: bytes) -> bool:
    """POST JSON, signed where there is a secret: HMAC-SHA256 of the body, in hexadecimal."""
    headers = {"Content-Type": "application/json"}
    secret = os.environ.get(SECRET)
    if secret:
        headers[SIGNATURE] = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    try:
        request = urllib.request.Request(address, body, headers, method="POST")  # noqa: S310 - http(s) only, see `_send`
        with _STRAIGHT.open(request, timeout=_TIMEOUT_SECONDS) as answer:
            return 200 <= int(answer.status) < 300
    # Whatever an address or who is there does, it is one that does not answer.
    except (OSError, ValueError, http.client.HTTPException):
        return False


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Somewhere else nobody asked for the message, and its signature is for the address that was declared."""

    def redirect_request(self, *_: object) -> None:
        return None


_STRAIGHT = urllib.request.build_opener(_NoRedirect)
