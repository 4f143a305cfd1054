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
