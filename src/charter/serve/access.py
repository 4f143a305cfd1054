"""Who may ask what, and how often: API keys and signed tokens with scopes, and a bucket of requests for each."""

from __future__ import annotations

import hmac
import json
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol

from charter.core.errors import UsageError
from charter.core.nearest import did_you_mean
from charter.serve.http import Scope, header
from charter.serve.problem import Refused, refuse

SCOPES = ("predict", "metrics", "admin")
"""``predict`` asks models and reads what they are, ``metrics`` reads ``/metrics``, ``admin`` may do both."""
OPEN = frozenset({"/healthz", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready"})
"""Addresses that a balancer asks without a key."""

_PREFIX = "ck"
_CALLERS = 10_000


@dataclass(frozen=True, slots=True)
class Key:
    """An API key as it is kept: its secret only as a digest.

    Attributes
    ----------
    key_id
        Public part, for lists and logs.
    digest
        SHA-256 of the secret, hexadecimal. The secret has 256 random bits, so a slow hash would add nothing.
    rate
        Requests a second; None leaves the server's own limit.
    """

    key_id: str
    name: str
    digest: str
    scopes: tuple[str, ...]
    created_at: str
    rate: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "id": self.key_id,
            "name": self.name,
            "digest": self.digest,
            "scopes": list(self.scopes),
            "created_at": self.created_at,
            "rate": self.rate,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Key:
        """Inverse of `to_json`."""
        rate = data.get("rate")
        return cls(
            str(data["id"]),
            str(data["name"]),
            str(data["digest"]),
            tuple(str(s) for s in data["scopes"]),
            str(data["created_at"]),
            None if rate is None else float(rate),
        )


def new_key(
    name: str, scopes: Sequence[str], *, created_at: str, rate: float | None = None
) -> tuple[Key, str]:
    """Make a key, and the token that its owner sends; the token is shown once and kept nowhere.

    Raises
    ------
    UsageError
        For an unknown scope, no scope, an empty name, or a rate that is not positive.
    """
    if not name.strip():
        raise UsageError("a key needs a name, for example that of the system that will use it")
    if not scopes:
        raise UsageError(f"key {name} has no scope; allowed: {', '.join(SCOPES)}")
    for scope in scopes:
        if scope not in SCOPES:
            raise UsageError(f"scope {scope!r} does not exist; {did_you_mean(scope, SCOPES)}")
    if rate is not None and not 0 < rate < float("inf"):
        raise UsageError(f"rate is {rate}; it must be above 0 requests a second")
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    kept = tuple(dict.fromkeys(scopes))
    return Key(key_id, name, _digest(secret), kept, created_at, rate), f"{_PREFIX}_{key_id}_{secret}"


def keys_to_text(keys: Sequence[Key]) -> str:
    """Write the keys as the file that a server reads."""
    return json.dumps({"schema_version": 1, "keys": [k.to_json() for k in keys]}, indent=1) + "\n"


def keys_from_text(text: str) -> tuple[Key, ...]:
    """Inverse of `keys_to_text`.

    Raises
    ------
    UsageError
        When the text is no list of keys.
    """
    try:
        data = json.loads(text)
        if data["schema_version"] != 1:
            raise UsageError(f"keys have schema_version {data['schema_version']!r}; this program reads 1")
        return tuple(Key.from_json(k) for k in data["keys"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"the keys cannot be read: {type(error).__name__} {error}") from error


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a key, or the subject of a token."""

    name: str
    scopes: frozenset[str]
    rate: float | None = None


class Tokens(Protocol):
    """Reads signed tokens."""

    def caller(self, token: str) -> Caller:
        """Return who a token speaks for; raises `Refused` (401) when it proves nothing."""
        ...


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


@dataclass(slots=True)
class Gate:
    """Lets requests in.

    Parameters
    ----------
    keys
        API keys now in force; replaced as a whole when they change.
    tokens
        Reads JSON Web Tokens; None accepts none.
    rate
        Requests a second for each caller whose key sets none; None is without limit. A caller may send one second's
        worth at once.
    share
        Part of every rate that this process grants: 1 / workers.
    clock
        Seconds that only grow.
    """

    keys: Sequence[Key] = ()
    tokens: Tokens | None = None
    rate: float | None = None
    share: float = 1.0
    clock: Callable[[], float] = field(default=lambda: 0.0)
    _buckets: OrderedDict[str, _Bucket] = field(default_factory=OrderedDict)

    def admit(self, scope: Scope, wanted: str) -> Caller:
        """Let a request in, or say why not.

        Parameters
        ----------
        wanted
            Scope that the address asks for.

        Raises
        ------
        Refused
            401 without a valid key or token, 403 without the scope, 429 above the rate.
        """
        caller = self._caller(scope)
        if wanted not in caller.scopes and "admin" not in caller.scopes:
            raise refuse(
                403, "scope", f"{caller.name} may not do this: it needs the scope {wanted}", field="authorization",
                remedy=f"Ask for a key with `--scope {wanted}`.",
            )  # fmt: skip
        self._count(caller)
        return caller

    def _caller(self, scope: Scope) -> Caller:
        given = header(scope, b"x-api-key")
        if given is None:
            kind, _, rest = (header(scope, b"authorization") or b"").partition(b" ")
            given = rest.strip() if kind.lower() == b"bearer" else b""
        token = given.decode("latin-1")
        if not token:
            raise unauthorised("the request brings no key")
        if token.startswith(f"{_PREFIX}_"):
            return self._by_key(token)
        if self.tokens is None:
            raise unauthorised("the key is not one of this server's")
        return self.tokens.caller(token)

    def _by_key(self, token: str) -> Caller:
        _, key_id, secret = (*token.split("_", 2), "", "")[:3]
        digest = _digest(secret)
        found = None
        # Every key is compared, in constant time each, so that the time tells nothing.
        for key in self.keys:
            right = hmac.compare_digest(key.digest.encode(), digest.encode())
            if right & hmac.compare_digest(key.key_id.encode(), key_id.encode("utf-8", "replace")):
                found = key
        if found is None:
            raise unauthorised("the key is not one of this server's")
        return Caller(f"key {found.name}", frozenset(found.scopes), found.rate)

    def _count(self, caller: Caller) -> None:
        rate = caller.rate if caller.rate is not None else self.rate
        if rate is None:
            return
        rate *= self.share
        most, now = max(rate, 1.0), self.clock()
        bucket = self._buckets.pop(caller.name, None) or _Bucket(most, now)
        bucket.level = min(most, bucket.level + (now - bucket.at) * rate)
        bucket.at = now
        self._buckets[caller.name] = bucket  # last used last
        if len(self._buckets) > _CALLERS:
            self._buckets.popitem(last=False)
        if bucket.level < 1:
            raise refuse(
                429, "rate", f"{caller.name} asks more than {rate / self.share:g} times a second; try again",
                remedy="Retry after the seconds of the Retry-After header, or send several rows in one request.",
            )  # fmt: skip
        bucket.level -= 1


def unauthorised(why: str) -> Refused:
    """401: who asks is not known."""
    return refuse(
        401, "key", why, field="authorization",
        remedy="Send `X-Api-Key: KEY` or `Authorization: Bearer KEY`; make one with `charter key create`.",
    )  # fmt: skip


def scope_for(path: str) -> str | None:
    """Scope that an address asks for; None where no key is needed."""
    if path in OPEN or (path.startswith("/v2/models/") and path.endswith("/ready")):
        return None
    return "metrics" if path == "/metrics" else "predict"


def _digest(secret: str) -> str:
    return sha256(secret.encode("utf-8", "replace")).hexdigest()
