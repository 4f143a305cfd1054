"""A model card as people and programs read it: HTML, Markdown, JSON, or CycloneDX. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from charter.core.errors import UsageError
from charter.core.nearest import did_you_mean
from charter.core.text import in_lines, in_markdown
from charter.govern.cyclonedx import bom
from charter.govern.gates import number

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES: Mapping[str, str] = {"html": "card.html.j2", "markdown": "card.md.j2"}
ENDINGS: Mapping[str, str] = {"html": "html", "markdown": "md", "json": "json", "cyclonedx": "cdx.json"}
"""Form to the ending of its file."""


def render(content: Mapping[str, Any], form: str) -> str:
    """Write a card.

    Parameters
    ----------
    content
        What `charter.govern.card.document` made.
    form
        ``html`` (self-contained, light and dark, printable), ``markdown``, ``json`` or ``cyclonedx``.

    Raises
    ------
    UsageError
        For another form.
    """
    if form not in ENDINGS:
        raise UsageError(f"a model card cannot be written as {form!r}", remedy=did_you_mean(form, ENDINGS))
    if form in TEMPLATES:
        return templates(form).get_template(TEMPLATES[form]).render(card=content)
    shown = bom(content) if form == "cyclonedx" else content
    return json.dumps(shown, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def templates(form: str) -> Environment:
    """Templates of this package, for ``html`` or ``markdown``, with the filters that write values for people."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("charter.govern", "templates"),
        autoescape=form == "html",  # noqa: S701  # Markdown has its own escaping: the filter `cell`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
    )
    found.filters.update(number=_number, interval=_interval, cell=_cell, words=_words, percent=_percent)
    return found


def _shown(value: Any) -> Any:
    """Show what a screen would obey; the lines of a text, and of a drawing of our own, are left as they are."""
    return type(value)(in_lines(value)) if isinstance(value, str) else value


def _number(value: Any) -> str:
    """Write a recorded fact: a number as people read it, a list or mapping with its items side by side."""
    if value is None:
        return "unknown"
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(name)} {_number(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_number, value)) or "none"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else number(value)


def _percent(share: Any) -> str:
    return f"{share * 100:g} %" if isinstance(share, int | float) else "unknown"


def _interval(found: Mapping[str, Any]) -> str:
    low, high = found.get("low"), found.get("high")
    if low is None or high is None:
        return _number(found.get("value"))
    return f"{_number(found.get('value'))} [{_number(low)}, {_number(high)}]"


def _cell(text: Any) -> str:
    return in_markdown(str(text))


def _words(name: Any) -> str:
    return str(name).replace("_", " ")
