"""Identifiers for requests that bring none."""

from __future__ import annotations

import os
from collections.abc import Iterator

_BYTES = 16
_DRAWN_AT_ONCE = 256


def random_ids() -> Iterator[str]:
    """Identifiers of 32 hexadecimal characters, 128 bits from the system's source of randomness.

    They are drawn many at once: asking the system costs as much as decoding a request.

    Examples
    --------
    >>> ids = random_ids()
    >>> a, b = next(ids), next(ids)
    >>> a == b, len(a)
    (False, 32)
    """
    while True:
        drawn = os.urandom(_BYTES * _DRAWN_AT_ONCE).hex()
        for at in range(0, len(drawn), 2 * _BYTES):
            yield drawn[at : at + 2 * _BYTES]
