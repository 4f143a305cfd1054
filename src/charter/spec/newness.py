"""What can be new about a series, in words: it is how evaluation, model card and requirements call the same thing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations


def kinds(keys: Sequence[str]) -> tuple[int, ...]:
    """Codes of the kinds of newness that are rehearsed: nothing but the pair, one key, several, as bits of the keys.

    Parameters
    ----------
    keys
        Columns that together name a series.

    Examples
    --------
    >>> kinds(["shop", "item"]), kinds(["shop"])
    ((0, 1, 2, 3), (1,))
    """
    count = len(keys)
    sizes = range(1, count + 1) if count <= 3 else (1,)
    codes = [sum(1 << k for k in chosen) for size in sizes for chosen in combinations(range(count), size)]
    return (*([0] if count > 1 else []), *sorted(codes))


def kind_words(keys: Sequence[str], code: int) -> str:
    """Name a kind of newness.

    Examples
    --------
    >>> [kind_words(["shop", "item"], code) for code in (0, 1, 3)]
    ['new shop and item together', 'new shop', 'new shop, new item']
    """
    if not code:
        return f"new {' and '.join(keys)} together"
    return ", ".join(f"new {key}" for bit, key in enumerate(keys) if code >> bit & 1)
