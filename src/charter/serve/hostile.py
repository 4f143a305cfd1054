"""Requests that no honest client sends, made from honest ones: for servers that must survive them all.

Everything is drawn from a seed, so that a request that breaks a server can be sent again.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FRAMING = ("cut connection", "too short a length", "no number as length", "two lengths", "huge length",
           "broken chunks", "no framing")  # fmt: skip
"""Kinds that break HTTP itself: its own layer may refuse them, without words, and close."""
_ODD: Sequence[Any] = (
    None, True, False, "", " ", "NaN", "1", "é", "\U0001d4b3", "\u0000", "\u202e", "a\nb", [], {}, [[]], {"a": 1},
    -1, 0, 1.5, 2**63, -(2**63) - 1, 10**40, 1e308, -1e308, 5e-324, "2020-02-30", "9999-99-99T99:99:99Z", "0000-00-00",
    "x" * 200,
)  # fmt: skip
_TOKENS = (
    "NaN", "Infinity", "-Infinity", "nan", "1e999", "-1e999", "01", "1.", ".5", "+1", "0x10", "1_000", "undefined",
    "'a'", "True", "None", "--1", "1e", '"\\ud800"', '"\\x41"', '"\t"', "9" * 5000, "// no", "/* no */ 1", "\ufeff1",
)  # fmt: skip
_NAMES = (
    "__proto__",
    "constructor",
    "",
    " ",
    "\u0000",
    "a" * 3000,
    "🙂",
    "$ref",
    "limit'; DROP TABLE t; --",
    "../..",
)
_BROKEN = (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80", b"\x80\x80", b"\xc0\xaf")
_MARK = "\u0001place\u0001"


@dataclass(frozen=True, slots=True)
class Hostile:
    """One request.

    Attributes
    ----------
    kind
        What is wrong with it.
    path
        Where it goes, with its query.
    headers
        All but ``Host`` and those that say where the body ends.
    framing
        Header lines that say where the body ends; empty for none.
    body
        What is sent after the headers, whatever they say.
    ends
        Whether the sender then closes its side.
    """

    kind: str
    path: str
    headers: tuple[tuple[str, str], ...]
    framing: bytes
    body: bytes
    ends: bool = False

    @property
    def wire(self) -> bytes:
        """The request as it is sent."""
        lines = [f"POST {self.path} HTTP/1.1", "Host: charter", *(f"{n}: {v}" for n, v in self.headers)]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n" + self.framing + b"\r\n" + self.body


def hostile(goods: Mapping[str, Any], seed: int, count: int) -> Iterator[Hostile]:
    """Draw requests.

    Parameters
    ----------
    goods
        Path to a document that is answered with 200 there; the requests are made from these.

    Returns
    -------
    Requests of all kinds in turn; one of twenty is ``good``, sent as it is.

    Examples
    --------
    >>> requests = list(hostile({"/predict": {"age": 40}}, seed=1, count=200))
    >>> len(requests), len({r.kind for r in requests}) == len(KINDS) + len(FRAMING) + 1
    (200, True)
    """
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    paths, kinds = sorted(goods), (*KINDS, *FRAMING)
    for number in range(count):
        path = paths[number % len(paths)]
        if number % 20 == 0:
            yield _framed("good", path, json.dumps(goods[path]).encode())
            continue
        kind = kinds[number % len(kinds)] if number < 4 * len(kinds) else chance.choice(kinds)
        document = copy.deepcopy(goods[path])
        if kind in KINDS:
            yield _framed(kind, path, KINDS[kind](document, chance), chance)
        else:
            yield _misframed(kind, path, json.dumps(document).encode(), chance)


def _framed(kind: str, path: str, body: bytes, chance: random.Random | None = None) -> Hostile:
    headers = [("Content-Type", "application/json")]
    framing = f"Content-Length: {len(body)}\r\n".encode()
    if chance is not None and chance.random() < 0.05:
        name, value = chance.choice(
            [
                ("Content-Type", "text/csv"), ("Content-Encoding", "gzip"), ("X-Request-Id", "a b\tc"),
                ("Accept", "application/x-none"), ("X-Request-Id", "x" * 5000),
                ("Content-Type", "application/json; charset=utf-16"),
                ("Inference-Header-Content-Length", "12"), ("Inference-Header-Content-Length", "-1"),
            ]
        )  # fmt: skip
        headers = [h for h in headers if h[0] != name] + [(name, value)]
    elif chance is not None and chance.random() < 0.05:
        path += chance.choice(
            ["?explain=maybe", "?explian=true", "?explain=true", "?%00=%ff", "?" + "a" * 2000]
        )
    elif chance is not None and chance.random() < 0.1 and len(body) < 100_000:
        cut = chance.randint(0, len(body))
        pieces = [p for p in (body[:cut], body[cut:]) if p]
        body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"
        framing = b"Transfer-Encoding: chunked\r\n"
    return Hostile(kind, path, tuple(headers), framing, body)


def _misframed(kind: str, path: str, body: bytes, chance: random.Random) -> Hostile:
    match kind:
        case "cut connection":
            framing, sent = _length(len(body)), body[: chance.randint(0, len(body) - 1)]
        case "too short a length":
            framing, sent = _length(chance.randint(0, len(body) - 1)), body
        case "no number as length":
            text = chance.choice(["ten", "-1", "1.5", "0x10", "", "+5", "1e3", "9" * 40])
            framing, sent = f"Content-Length: {text}\r\n".encode(), body
        case "two lengths":
            framing, sent = _length(len(body)) + _length(len(body) + chance.randint(1, 9)), body
        case "huge length":
            framing, sent = _length(10 ** chance.randint(8, 18)), body
        case "broken chunks":
            chunk = chance.choice(
                [b"zz\r\n", b"-5\r\n", b"ffffffffffffffffff\r\n", b"5\r\nab", b"5;" + b"x" * 999]
            )
            framing, sent = b"Transfer-Encoding: chunked\r\n", chunk + body
        case _:
            framing, sent = b"", body
    return Hostile(kind, path, (("Content-Type", "application/json"),), framing, sent, ends=True)


def _length(value: int) -> bytes:
    return f"Content-Length: {value}\r\n".encode()


# ---------------------------------------------------------------------------------------------- places of a document
def _places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(document, dict | list):
        items = document.items() if isinstance(document, dict) else enumerate(document)
        for key, value in items:
            found += _places(value, (*path, key))
    return found


def _put(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return document


def _take(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        document = document[key]
    return document


def _raw(document: Any, chance: random.Random, token: str) -> bytes:
    """The document with a token in place of a value."""
    marked = json.dumps(_put(document, chance.choice(_places(document)), _MARK))
    return marked.replace(json.dumps(_MARK), token).encode("utf-8", "surrogatepass")


def _written(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _objects(document: Any) -> list[Any]:
    found = [document] if isinstance(document, dict) else []
    inner = (
        document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    )
    return found + [o for value in inner for o in _objects(value)]


# ------------------------------------------------------------------------------------------------------------- kinds
def _wrong_type(document: Any, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 3)):
        document = _put(document, chance.choice(_places(document)), copy.deepcopy(chance.choice(_ODD)))
    return _written(document)


def _missing(document: Any, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 4)):
        inner = [p for p in _places(document) if p]
        if inner:
            path = chance.choice(inner)
            del _take(document, path)[path[-1]]
    return _written(document)


def _extra(document: Any, chance: random.Random) -> bytes:
    objects = _objects(document)
    for _ in range(chance.randint(1, 30)):
        chance.choice(objects)[chance.choice(_NAMES) + str(chance.randint(0, 3))] = chance.choice(_ODD)
    return _written(document)


def _not_json(document: Any, chance: random.Random) -> bytes:
    return _raw(document, chance, chance.choice(_TOKENS))


def _null(document: Any, chance: random.Random) -> bytes:
    return _written(_put(document, chance.choice(_places(document)), None))


def _huge_text(document: Any, chance: random.Random) -> bytes:
    text = chance.choice(["x", "é", '"', "\\", "\u0000", "🙂", " "]) * 10 ** chance.randint(3, 5)
    return _written(_put(document, chance.choice(_places(document)), text))


def _huge_list(document: Any, chance: random.Random) -> bytes:
    many = [copy.deepcopy(chance.choice(_ODD))] * 10 ** chance.randint(2, 4)
    if chance.random() < 0.3:
        return b"[" + b",".join([_written(document)] * chance.choice([2, 50, 12_000])) + b"]"
    return _written(_put(document, chance.choice(_places(document)), many))


def _broken_utf_8(document: Any, chance: random.Random) -> bytes:
    body = _written(document)
    at = chance.randint(0, len(body))
    return body[:at] + chance.choice(_BROKEN) + body[at:]


def _deep(document: Any, chance: random.Random) -> bytes:
    depth = 10 ** chance.randint(1, 5)
    opens, closes = chance.choice([("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
    nested = opens * depth + "1" + (closes * depth if chance.random() < 0.7 else "")
    return nested.encode() if chance.random() < 0.5 else _raw(document, chance, nested)


def _cut(document: Any, chance: random.Random) -> bytes:
    body = _written(document)
    return body[: chance.randint(0, len(body) - 1)]


def _repeated(document: Any, chance: random.Random) -> bytes:
    holders = [o for o in _objects(document) if o]
    holder = chance.choice(holders)
    key = chance.choice(sorted(holder))
    marked = {**holder, _MARK: chance.choice(_ODD)}
    holder.clear()
    holder.update(marked)
    return _written(document).replace(_written(_MARK), _written(key))


def _bytes(document: Any, chance: random.Random) -> bytes:
    body = bytearray(_written(document))
    match chance.randint(0, 4):
        case 0:
            return chance.randbytes(chance.randint(0, 400))
        case 1:
            for _ in range(chance.randint(1, 6)):
                body[chance.randrange(len(body))] = chance.randrange(256)
            return bytes(body)
        case 2:
            return _written(document).decode("utf-8").encode(chance.choice(["utf-16", "utf-32", "utf-8-sig"]))
        case 3:
            return bytes(body) + chance.choice([b"\x00", b"{}", b",", b"]", bytes(body), b" " * 10_000])
        case _:
            return b" " * chance.choice([0, 1, 100_000])


KINDS: Mapping[str, Callable[[Any, random.Random], bytes]] = {
    "wrong type": _wrong_type, "missing": _missing, "extra": _extra, "no JSON value": _not_json, "null": _null,
    "huge text": _huge_text, "huge list": _huge_list, "broken UTF-8": _broken_utf_8, "deep nesting": _deep,
    "cut body": _cut, "repeated key": _repeated, "other bytes": _bytes,
}  # fmt: skip
"""Kinds of bodies, and what makes them of a good document."""
