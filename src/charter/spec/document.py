"""Read YAML so that every key and every value knows its place.

YAML 1.2's core schema: only ``true`` and ``false`` are truth values (``NO``, ``on`` and ``yes`` stay text), dates stay
text, a number with a leading zero stays text. Keys are text. Tags are refused, keys that stand twice are refused, and
an alias may repeat a part but not blow it up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from charter.core.errors import Problem, SpecError

Path = tuple[str | int, ...]
"""Keys and list indices from the root."""

MAX_BYTES = 1_000_000
MAX_NODES = 50_000
MAX_DEPTH = 40

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,30})")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_WORDS: dict[str, bool | None] = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_WORDS |= dict.fromkeys(("", "~", "null", "Null", "NULL"))
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


class Place(NamedTuple):
    """Where something stands: line and column from 1, and how many characters to underline."""

    line: int
    column: int
    width: int


_TOP = Place(1, 1, 1)


@dataclass(frozen=True, slots=True)
class Span:
    """Place of a scalar or collection, and its offsets in the text."""

    place: Place
    start: int
    stop: int
    scalar: bool


@dataclass(frozen=True, slots=True)
class Source:
    """A file's text with the places of its keys and values.

    Attributes
    ----------
    file
        Name to show, as the user gave it.
    lines
        The text, line by line.
    """

    file: str
    text: str = field(repr=False)
    lines: tuple[str, ...] = field(repr=False)
    keys: Mapping[Path, Place] = field(repr=False)
    values: Mapping[Path, Span] = field(repr=False)

    def place(self, path: Path) -> Place:
        """Place of the key (or list entry) at ``path``; of the nearest one above where the file has none.

        A default has no line of its own, so its requirement is found where it could have been written.
        """
        for length in range(len(path), 0, -1):
            if path[:length] in self.keys:
                return self.keys[path[:length]]
            if path[:length] in self.values:
                return self.values[path[:length]].place
        return _TOP

    def value(self, path: Path) -> Place:
        """Place of the scalar at ``path``; of its key where it is a collection or absent."""
        span = self.values.get(path)
        return span.place if span is not None and span.scalar and span.stop > span.start else self.place(path)

    def inside(self, path: Path, text: str, offset: int, width: int) -> Place:
        """Place of ``text[offset:offset + width]`` within the scalar at ``path`` whose value is ``text``.

        Quoting and folding move characters but keep words, so the n-th mention in the value is the n-th in the file.
        """
        span = self.values.get(path)
        word = text[offset : offset + width]
        if span is None or not span.scalar or not word.strip():
            return self.value(path)
        mention = len(re.findall(f"(?={re.escape(word)})", text[:offset]))
        mention -= sum(1 for m in re.finditer(f"(?={re.escape(word)})", text[:offset]) if m.start() == offset)
        at = span.start - 1
        for _ in range(mention + 1):
            at = self.text.find(word, at + 1, span.stop)
            if at < 0:
                return self.value(path)
        before = self.text[:at]
        breaks = list(_BREAK.finditer(before))
        start_of_line = breaks[-1].end() if breaks else 0
        return Place(len(breaks) + 1, at - start_of_line + 1, len(word))

    def where(self, path: Path) -> str:
        r"""``model.yaml:63``, for verdicts.

        Examples
        --------
        >>> read("train:\n  seed: 1\n", "model.yaml")[1].where(("train", "seed"))
        'model.yaml:2'
        """
        return f"{self.file}:{self.place(path).line}"


def read(text: str, file: str) -> tuple[dict[str, Any], Source, list[Problem]]:
    """Read a mapping from YAML text.

    Returns
    -------
    Plain data (dict, list, str, int, float, bool, None), the places, and the faults that left the rest readable
    (keys that stand twice).

    Raises
    ------
    SpecError
        When the text is no YAML, no mapping, too large, or nested too deeply.

    Examples
    --------
    >>> data, source, faults = read("train: {seed: 42}", "model.yaml")
    >>> data, source.place(("train", "seed"))
    ({'train': {'seed': 42}}, Place(line=1, column=9, width=4))
    """
    text = text.removeprefix("\ufeff")
    lines = tuple(_BREAK.split(text))
    reader = _Reader(text, lines)

    def refuse(message: str, hint: str = "", at: Place = _TOP) -> SpecError:
        return SpecError([Problem((), message, hint, *at)], file=file, lines=lines)

    try:
        if len(text.encode()) > MAX_BYTES:
            raise refuse("the file is larger than 1 MB", "a specification has some hundred lines")
        data = reader.read()
    except UnicodeEncodeError:
        raise refuse("the file holds characters that are no text (lone surrogates)") from None
    except _Unreadable as fault:
        raise refuse(fault.message, fault.hint, fault.place) from None
    except yaml.MarkedYAMLError as fault:
        place = _place_of(fault.problem_mark or fault.context_mark, lines)
        said = fault.problem or fault.context or "not YAML"
        advice = _advice(said, lines, place)
        opened = fault.context_mark
        if opened is not None and opened.line + 1 < place.line and "closed" in advice:
            advice += f"; it was opened in line {opened.line + 1}"
        raise refuse(f"the file is not YAML: {said}", advice, place) from None
    except yaml.YAMLError as fault:
        said = str(fault).splitlines()[0]
        raise refuse(f"the file is not YAML: {said}", "is it a text file in UTF-8?") from None
    source = Source(file, text, lines, reader.keys, reader.values)
    return data, source, reader.faults


def _place_of(mark: Any, lines: tuple[str, ...]) -> Place:
    """Place of a parser's mark; one beyond the end is moved to the end of the last line that says something."""
    if mark is None:
        return _TOP
    if mark.line < len(lines) and lines[mark.line]:
        return Place(mark.line + 1, mark.column + 1, 1)
    last = max((i for i, line in enumerate(lines[: mark.line]) if line.strip()), default=0)
    return Place(last + 1, max(len(lines[last].rstrip()), 1), 1)


def _advice(said: str, lines: tuple[str, ...], place: Place) -> str:
    line = lines[place.line - 1] if place.line <= len(lines) else ""
    if "\t" in line:
        return "YAML is indented by spaces, not tabs"
    if "mapping values" in said:
        return "a text that holds a colon and a space needs quotes"
    if "expected ',' or" in said:
        return "a bracket is not closed, or a text within it needs quotes"
    if "block mapping" in said or "block end" in said:
        return "look at the indentation of this line and the ones above"
    if "quoted scalar" in said:
        return "a quote is not closed"
    return ""


class _Unreadable(Exception):
    """Becomes a SpecError in `read`."""

    def __init__(self, message: str, place: Place, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        self.hint = hint


class _PythonParser(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
    """PyYAML's parser where libyaml is not built in."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)


def _event_parser(text: str) -> Any:
    if yaml.__with_libyaml__:
        return yaml._yaml.CParser(text)
    return _PythonParser(text)


class _Reader:
    """Builds data from the parser's events, noting places. Events rather than nodes: their depth can be limited."""

    def __init__(self, text: str, lines: tuple[str, ...]) -> None:
        self.text = text
        self.lines = lines
        self.keys: dict[Path, Place] = {}
        self.values: dict[Path, Span] = {}
        self.faults: list[Problem] = []
        self.anchors: dict[str, tuple[Path, Any]] = {}
        self.nodes = 0
        self.next: Callable[[], Any] = lambda: None

    def read(self) -> dict[str, Any]:
        parser = _event_parser(self.text)
        self.next = parser.get_event
        self.next()  # the stream's start
        if isinstance(self.next(), yaml.StreamEndEvent):
            raise _Unreadable("the file is empty", _TOP, "start from `charter init`")
        data = self.build(self.next(), (), 0)
        self.next()  # the document's end
        following = self.next()
        if not isinstance(following, yaml.StreamEndEvent):
            raise _Unreadable(
                "a second document begins", self.place(following), "one file holds one specification"
            )
        if not isinstance(data, dict):
            raise _Unreadable(
                "the file is not a mapping of keys to values", _TOP, "begin with `spec_version: 1`"
            )
        return data

    def place(self, event: Any) -> Place:
        start, end = event.start_mark, event.end_mark
        line = self.lines[start.line] if start.line < len(self.lines) else ""
        stop = end.column if end.line == start.line else len(line.rstrip())
        return Place(start.line + 1, start.column + 1, max(stop - start.column, 1))

    def build(self, event: Any, path: Path, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _Unreadable("the file says too much", self.place(event), "aliases repeat a part too often")
        if depth > MAX_DEPTH:
            raise _Unreadable("the file is nested too deeply", self.place(event))
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, path)
        if event.tag is not None:
            raise _Unreadable(
                f"the tag {event.tag} is not used here", self.place(event), "write the plain value"
            )
        scalar = isinstance(event, yaml.ScalarEvent)
        self.values[path] = Span(self.place(event), event.start_mark.index, event.end_mark.index, scalar)
        data: Any
        if scalar:
            data = resolve(event.value) if event.implicit[0] else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            data = []
            while not isinstance(entry := self.next(), yaml.SequenceEndEvent):
                data.append(self.build(entry, (*path, len(data)), depth + 1))
        else:
            data = self.mapping(path, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = (path, data)
        return data

    def mapping(self, path: Path, depth: int) -> dict[str, Any]:
        data: dict[str, Any] = {}
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
                raise _Unreadable("a key is not plain text", self.place(event))
            key, place = event.value, self.place(event)
            if key in data:
                first = self.keys[(*path, key)].line
                self.faults.append(
                    Problem((*path, key), f"stands twice, first in line {first}", "leave one out", *place)
                )
                self.build(self.next(), (*path, key, "second"), depth + 1)
                continue
            self.keys[(*path, key)] = place
            data[key] = self.build(self.next(), (*path, key), depth + 1)
        return data

    def alias(self, event: Any, path: Path) -> Any:
        if event.anchor not in self.anchors:
            raise _Unreadable(f"*{event.anchor} names nothing that stands before it", self.place(event))
        origin, data = self.anchors[event.anchor]
        return self.repeat(data, origin, path, event)

    def repeat(self, data: Any, origin: Path, path: Path, event: Any) -> Any:
        """Copy a part with its places: a fault in it is shown where it is written."""
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _Unreadable("the file says too much", self.place(event), "aliases repeat a part too often")
        self.values[path] = self.values[origin]
        if isinstance(data, list):
            return [self.repeat(entry, (*origin, i), (*path, i), event) for i, entry in enumerate(data)]
        if isinstance(data, dict):
            for key in data:
                self.keys[(*path, key)] = self.keys[(*origin, key)]
            return {
                key: self.repeat(entry, (*origin, key), (*path, key), event) for key, entry in data.items()
            }
        return data


def resolve(text: str) -> Any:
    """Resolve a plain scalar by YAML 1.2's core schema, but keep as text what is no finite number."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and not _LEADING_ZERO.match(text):
        number = float(text)
        return number if abs(number) != float("inf") else text
    return text
