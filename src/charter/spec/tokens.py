"""Cut an expression into tokens; every token knows its place."""

from __future__ import annotations

import re
from dataclasses import dataclass

KEYWORDS = frozenset(
    {"AND", "OR", "NOT", "IN", "IS", "NULL", "TRUE", "FALSE", "BETWEEN", "LIKE", "ILIKE"}
    | {"CASE", "WHEN", "THEN", "ELSE", "END", "CAST", "EXTRACT", "DISTINCT", "AS"}
)

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<comment>--|/\*)
    | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)
    | (?P<string>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")+")
    | (?P<word>[^\W\d]\w*)
    | (?P<dot>\.)
    | (?P<operator><=|>=|<>|!=|==|[-+*/%=<>(),])
    """,
    re.VERBOSE,
)
_ELSEWHERE = {
    "&": "write AND",
    "|": "write OR, or CONCAT(a, b) for text",
    "!": "write NOT, or <> for unequal",
    "^": "write POWER(x, y)",
    "~": "write LIKE",
    ":": "write CAST(x AS DOUBLE)",
    ";": "one expression, no statements",
    "[": "lists are written IN (a, b)",
    "'": "the text is not closed; a quote inside is doubled: 'it''s'",
    '"': "the name is not closed",
    "`": 'quote names with double quotes: "a name"',
}


class ExpressionError(ValueError):
    """An expression cannot be read.

    Parameters
    ----------
    message
        What is wrong, in one line.
    position
        Offset of the first offending character, from 0.
    hint
        What to write instead; may be empty.
    width
        Number of offending characters.
    """

    def __init__(self, message: str, position: int, hint: str = "", width: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.hint = hint
        self.width = max(width, 1)


@dataclass(frozen=True, slots=True)
class Token:
    """One word, number, text or sign.

    ``kind`` is ``number``, ``string``, ``name``, ``keyword``, ``operator``, ``dot`` or ``end``; ``value`` is
    what is meant: upper case for keywords, without quotes for names and strings.
    """

    kind: str
    value: str
    position: int
    width: int
    quoted: bool = False

    @property
    def stop(self) -> int:
        """Offset just after the token."""
        return self.position + self.width


def tokenize(text: str) -> list[Token]:
    """Cut ``text`` into tokens, the last of kind ``end``.

    Raises
    ------
    ExpressionError
        At a character that has no meaning here.
    """
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            sign = text[at]
            raise ExpressionError(f"cannot read {sign!r}", at, _ELSEWHERE.get(sign, ""))
        found = match[0]
        kind = match.lastgroup
        if kind == "comment":
            hint = "comments do not stand inside an expression; two minus signs are written - (-x)"
            raise ExpressionError(f"cannot read {found!r}", at, hint, 2)
        if kind != "space":
            tokens.append(_token(kind or "", found, at))
        at = match.end()
    tokens.append(Token("end", "", len(text), 1))
    return tokens


def _token(kind: str, found: str, at: int) -> Token:
    width = len(found)
    if kind == "string":
        return Token("string", found[1:-1].replace("''", "'"), at, width)
    if kind == "quoted":
        return Token("name", found[1:-1].replace('""', '"'), at, width, quoted=True)
    if kind == "word":
        if found.upper() in KEYWORDS:
            return Token("keyword", found.upper(), at, width)
        return Token("name", found, at, width)
    return Token(kind, found, at, width)
