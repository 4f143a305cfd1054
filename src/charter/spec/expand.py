"""The specification with every default written out."""

from __future__ import annotations

from typing import Any

import yaml

from charter.spec.document import resolve
from charter.spec.types import ModelSpec


class _Dumper(yaml.SafeDumper):
    """Writes YAML that our reader reads back to the same values."""

    def ignore_aliases(self, data: Any) -> bool:
        """Repeat rather than refer: every value stands where it is read."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML writes 1e3 without quotes, since YAML 1.1 takes it for text; YAML 1.2 does not.
    style = None if isinstance(resolve(text), str) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def expand(spec: ModelSpec) -> str:
    """Write a specification as YAML with all its defaults; what is not set and has no default is left out.

    Returns
    -------
    YAML text; loading it gives an equal specification.
    """
    data = spec.model_dump(mode="json", exclude_none=True)
    return yaml.dump(
        data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None
    )


def in_one_line(value: Any) -> str:
    """Write a value as it stands in one line of a specification, quoted where YAML asks for it.

    Examples
    --------
    >>> in_one_line({"type": "category", "values": ["1", "no", "a: b"]})
    "{type: category, values: ['1', no, 'a: b']}"
    """
    text = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**9, default_flow_style=True
    )
    return text.removesuffix("...\n").rstrip("\n")
