"""JSON Web Tokens, checked against the public keys of an identity provider (OpenID Connect's JWKS)."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from hashlib import sha256
from typing import Any

from charter.core.errors import UsageError
from charter.serve.access import SCOPES, Caller, unauthorised

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures by a private key only: a shared secret has no place in a file of public keys."""
LEEWAY_SECONDS = 30
_REMEMBERED = 4096


class JwtTokens:
    """Reads tokens signed by one of the keys of a JWKS document.

    Scopes are those words of the claims ``scope`` (text), ``scp``, ``scopes`` or ``roles`` (text or list) that are
    scopes of this server. A token needs ``exp``; ``iss`` and ``aud`` are held against what is given.

    Parameters
    ----------
    jwks
        Text of a JWKS document.

    Raises
    ------
    UsageError
        When the document holds no usable key.
    """

    def __init__(self, jwks: str, *, issuer: str | None = None, audience: str | None = None) -> None:
        import jwt

        try:
            self._keys = [
                k for k in jwt.PyJWKSet.from_dict(json.loads(jwks)).keys if k.algorithm_name in ALGORITHMS
            ]
        except (ValueError, TypeError, AttributeError, jwt.PyJWTError) as error:
            raise UsageError(f"the JWKS cannot be read: {error}") from error
        if not self._keys:
            raise UsageError(f"the JWKS holds no public key for {', '.join(ALGORITHMS)}")
        self._issuer, self._audience = issuer, audience
        # A proof costs a hundred microseconds and more; the same token comes with every request.
        self._proved: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()

    def caller(self, token: str) -> Caller:
        """Return who a token speaks for; raises `Refused` (401) when it proves nothing."""
        mark = sha256(token.encode("utf-8", "replace")).digest()
        known = self._proved.get(mark)
        if known is not None and time.time() < known[0]:
            return known[1]
        claims = self._claims(token)
        scopes = {w for n in ("scope", "scp", "scopes", "roles") for w in _words(claims.get(n))} & set(SCOPES)
        caller = Caller(f"token of {str(claims.get('sub', 'nobody'))[:80]}", frozenset(scopes))
        self._proved[mark] = (float(claims["exp"]) + LEEWAY_SECONDS, caller)
        if len(self._proved) > _REMEMBERED:
            self._proved.popitem(last=False)
        return caller

    def _claims(self, token: str) -> dict[str, Any]:
        import jwt

        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            keys = [k for k in self._keys if key_id is None or k.key_id == key_id]
            if not keys:
                raise unauthorised("the token is signed by a key that this server does not know")
            for key in keys:
                try:
                    found: dict[str, Any] = jwt.decode(
                        token,
                        key,
                        algorithms=[key.algorithm_name],
                        issuer=self._issuer,
                        audience=self._audience,
                        leeway=LEEWAY_SECONDS,
                        options={"require": ["exp"], "verify_aud": self._audience is not None},
                    )
                    return found
                except jwt.InvalidSignatureError:
                    continue
        except (jwt.PyJWTError, ValueError) as error:
            raise unauthorised(f"the token proves nothing: {error}") from error
        raise unauthorised("the token proves nothing: its signature is of none of the known keys")


def _words(claim: Any) -> list[str]:
    if isinstance(claim, str):
        return claim.split()
    return [w for w in claim if isinstance(w, str)] if isinstance(claim, list) else []
