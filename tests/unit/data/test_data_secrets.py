"""A secret of a database address stays out of messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.core.errors import DataError
from charter.data.io.sources import _query
from charter.spec.types import SourceSpec


def test_a_password_among_the_options_of_an_address_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DB", f"sqlite:///file:{tmp_path}/nowhere/shop.db?uri=true&password=open-sesame")
    source = SourceSpec.model_validate(
        {"sql": "select 1 as a", "url": "${SHOP_DB}", "columns": {"a": {"type": "integer"}}}
    )
    with pytest.raises(DataError) as told:
        _query(source)
    assert "nowhere/shop.db" in str(told.value)
    assert "open-sesame" not in str(told.value)
