"""Words of persons, kept and shown so that no reader's screen obeys them; and names in a sentence."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from charter.core.errors import UsageError

MOST = 2_000
"""Characters."""
_OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINS = "\u200c\u200d"
"""Joiners within words and pictures of some scripts: they move nothing."""


def one_line(text: str, what: str, *, required: bool = False) -> str:
    r"""Return a person's words without the blanks around them.

    A second line could forge another entry of a list, and a control character overwrite what stands on a terminal.

    Parameters
    ----------
    what
        How the text is called: ``a reason``.
    required
        Whether there must be one.

    Raises
    ------
    UsageError
        For words that are missing or too long, with line breaks, control characters, marks of writing direction, or
        bytes that are no UTF-8.

    Examples
    --------
    >>> one_line("  complaints from Zoë 🙂 ", "a reason")
    'complaints from Zoë 🙂'
    >>> one_line("seen\n  [x] 1. Rolled back", "a title")
    Traceback (most recent call last):
        ...
    charter.core.errors.UsageError: a title holds '\n' at character 5; it is kept as one line of plain text
      Write it in one line; what needs more room stands elsewhere, and is named here.
    """
    said = text.strip()
    if required and not said:
        raise UsageError(f"{what} is needed", remedy="Say it in a few words.")
    if len(said) > MOST:
        raise UsageError(
            f"{what} is {len(said):,} characters long; at most {MOST:,} are kept",
            remedy="Keep the long text elsewhere, and name it here.",
        )
    for place, character in enumerate(said):
        if _obeyed(character):
            raise UsageError(
                f"{what} holds {character!a} at character {place + 1}; it is kept as one line of plain text",
                remedy="Write it in one line; what needs more room stands elsewhere, and is named here.",
            )
    return said


def printable(text: str) -> str:
    r"""Show control characters, line breaks and marks of writing direction instead of obeying them.

    A reason or a name must not forge another line of an answer, nor overwrite or hide one on a terminal or a page.

    Examples
    --------
    >>> printable("no\r\n  ok  final  approved \x1b[2J")
    'no\\r\\n  ok  final  approved \\x1b[2J'
    >>> printable("Zoë Muñoz 東京 🙂")
    'Zoë Muñoz 東京 🙂'
    """
    if text.isprintable():
        return text
    return "".join(repr(c)[1:-1] if _obeyed(c) else c for c in text)


def in_lines(text: str) -> str:
    """As `printable`, of a text whose line breaks and tabs are its own."""
    if text.isprintable():
        return text
    return "".join(repr(c)[1:-1] if c not in "\n\t" and _obeyed(c) else c for c in text)


def in_markdown(text: str) -> str:
    r"""Make a text safe inside a Markdown table or paragraph: one line, nothing obeyed, nothing taken for markup.

    Examples
    --------
    >>> print(in_markdown("a|b\n*c* \x1b[2J"))
    a\|b \*c\* \\x1b\[2J
    """
    flat = printable(" ".join(text.split()))
    for special in ("\\", "|", "`", "*", "_", "<", ">", "[", "]"):
        flat = flat.replace(special, f"\\{special}")
    return flat


def some(names: Sequence[str], most: int = 3) -> str:
    """Name the first few.

    Examples
    --------
    >>> some(["a", "b"]), some(["a", "b", "c"], 1)
    ('a, b', 'a and 2 more')
    """
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _obeyed(character: str) -> bool:
    return character not in _JOINS and unicodedata.category(character) in _OBEYED
