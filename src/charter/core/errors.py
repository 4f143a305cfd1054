"""The error tree. Every error says what was wrong, where, and what to do next.

- ``CharterError``           base; ``exit_code`` 3 (our fault) unless a subclass says otherwise
    - ``UsageError``         wrong use: a flag, a name, a file that is not there           (exit 2)
        - ``SpecError``      the specification is invalid; carries every problem at once   (exit 2)
        - ``DataError``      a source cannot be read or does not have what the spec names  (exit 2)
        - ``RequestError``   a prediction request is malformed                       (HTTP 4xx)
        - ``PackageError``   a package is damaged, altered, or signed by nobody we know    (exit 2)
    - ``Refusal``            the answer is no: the reason is a ``Decision``                (exit 1)
    - ``Busy``               another process holds the workspace                          (exit 1)

A model that fails a gate is *not* an error: it is a ``Decision`` with verdict ``fail``. ``Refusal`` exists
only to carry such a decision to the edge of the program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charter.core.decision import Decision


class CharterError(Exception):
    """Base of all errors that Charter raises on purpose.

    Parameters
    ----------
    message
        What was wrong, naming the field, the value and the rule.
    remedy
        What the reader should do next, a sentence or a command.
    """

    exit_code = 3

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  {self.remedy}" if self.remedy else self.message


class UsageError(CharterError):
    """The program was used in a way that cannot work."""

    exit_code = 2


class DataError(UsageError):
    """A source cannot be read, or does not hold what the specification names."""


class PackageError(UsageError):
    """A model package is damaged, altered, incompatible, or signed by nobody this workspace knows."""


class RequestError(UsageError):
    """A prediction request is malformed.

    Parameters
    ----------
    field
        The offending field as a path, for example ``rows[3].LIMIT_BAL``; empty for the request as a whole.
    status
        HTTP status, 400..499.
    """

    def __init__(
        self, message: str, *, field: str = "", status: int = 422, remedy: str | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.field = field
        self.status = status


class Refusal(CharterError):
    """The answer is no; ``decision`` says why."""

    exit_code = 1

    def __init__(self, message: str, *, decision: Decision | None = None, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.decision = decision


class Busy(CharterError):
    """Another process holds what this one needs."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a specification, pointing at its place in the file.

    Attributes
    ----------
    path
        Keys from the root, for example ``("evaluate", "require", "roc_auk")``.
    message
        What is wrong, in one line, without the path.
    hint
        Nearest match or allowed values; may be empty.
    line, column
        One-based place in the file; 0 when there is no file.
    width
        Number of characters to underline.
    """

    path: tuple[str | int, ...]
    message: str
    hint: str = ""
    line: int = 0
    column: int = 0
    width: int = 1


class SpecError(UsageError):
    """The specification is invalid; ``problems`` lists every fault in the order of the file."""

    def __init__(self, problems: Sequence[Problem], *, file: str, lines: Sequence[str] = ()) -> None:
        self.problems = tuple(problems)
        self.file = file
        self.lines = tuple(lines)
        super().__init__(self._render())

    def _render(self) -> str:
        parts = []
        for p in self.problems:
            dotted = ".".join(str(key) for key in p.path)
            parts.append(f"{self.file}:{p.line}:{p.column}  {dotted + ' ' if dotted else ''}{p.message}")
            if 0 < p.line <= len(self.lines):
                text, pointer = _excerpt(self.lines[p.line - 1], p.column - 1, p.width)
                parts.append(f"{p.line:>6} | {text}")
                parts.append(f"       | {pointer} {p.hint}".rstrip())
            elif p.hint:
                parts.append(f"       {p.hint}")
        count = len(self.problems)
        parts.append(f"{count} error{'s' if count != 1 else ''}")
        return "\n".join(parts)


_EXCERPT = 110


def _excerpt(line: str, start: int, width: int) -> tuple[str, str]:
    """Cut a long line to what surrounds the fault, and underline it; tabs and control characters become blanks."""
    line = "".join(sign if sign.isprintable() else " " for sign in line)
    first = 0 if len(line) <= _EXCERPT else max(0, min(start - _EXCERPT // 3, len(line) - _EXCERPT))
    shown = line[first : first + _EXCERPT]
    marks = "^" * max(min(width, len(shown) - (start - first)), 1)
    pointer = " " * max(start - first, 0) + marks
    if first:
        shown, pointer = f"...{shown}", f"   {pointer}"
    return f"{shown}..." if first + _EXCERPT < len(line) else shown, pointer
