"""Nearest match, for errors that help."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from charter.core.text import printable


def did_you_mean(word: str, known: Iterable[str], *, limit: int = 8) -> str:
    """Say the nearest known word, or list what is allowed.

    Examples
    --------
    >>> did_you_mean("roc_auk", ["roc_auc", "recall"])
    'did you mean roc_auc?'
    >>> did_you_mean("zzz", ["roc_auc", "recall"])
    'allowed: recall, roc_auc'
    """
    options = sorted(set(known))
    close = get_close_matches(word, options, n=1, cutoff=0.6)
    if not close:
        lowered = {o.lower(): o for o in options}
        close = [lowered[m] for m in get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)]
    if close:
        return f"did you mean {printable(close[0])}?"
    if not options:
        return "nothing is allowed here"
    shown = printable(", ".join(options[:limit]))
    return f"allowed: {shown}{', ...' if len(options) > limit else ''}"


def advice(word: str, known: Iterable[str], *, limit: int = 8) -> str:
    """`did_you_mean` as a sentence; names keep their case.

    Examples
    --------
    >>> advice("id", ["ID", "LIMIT_BAL"])
    'Did you mean ID?'
    """
    text = did_you_mean(word, known, limit=limit)
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('?') else '.'}"
