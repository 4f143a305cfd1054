"""The same life with records in PostgreSQL, and two models that share them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from e2e_models import apply, charter, done, edit, make_clients, make_loans
from sqlalchemy import create_engine, make_url, text

REQUEST = '{"credit": 9000, "bill": 4000, "late": 4, "region": "north"}'
pytestmark = pytest.mark.postgres


@pytest.fixture
def shared(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database of its own for each test."""
    name = f"charter_{uuid.uuid4().hex[:12]}"
    server = create_engine(make_url(postgres_url), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    address = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    monkeypatch.setenv("CHARTER_RECORDS_URL", address)
    yield address
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


def test_a_life_in_postgresql(shared, tmp_path):
    folder = make_loans(tmp_path / "loans")
    assert charter("show", "v1", "--in", folder).code == 2
    assert apply(folder)[-1] == "release"
    assert not (folder / ".charter" / "records.sqlite").exists()
    assert apply(folder) == []
    edit(folder, 'roc_auc: ">= 0.7"', 'roc_auc: ">= 0.65"')
    assert apply(folder) == ["gate", "package", "release"]
    edit(folder, 'roc_auc: ">= 0.65"', 'roc_auc: ">= 0.7"')
    assert apply(folder) == ["release"]
    assert done("status", folder, "--json").json["serving"] == "v1"
    assert done("reproduce", "v1", "--in", folder, "--json").json["identical"] is True
    assert done("audit", "verify", "--in", folder, "--json").json["sound"] is True
    assert 0 <= done("predict", "--json", REQUEST, "--in", folder).json["score"] <= 1


@pytest.mark.slow
def test_a_second_model_joins_the_same_records(shared, tmp_path):
    loans, clients = make_loans(tmp_path / "loans"), make_clients(tmp_path / "clients")
    apply(loans)
    said = charter("apply", clients)
    assert said.code == 1
    assert "charter audit adopt" in said.err
    done("audit", "adopt", "--in", clients)
    assert apply(clients)[-1] == "release"
    for folder in (loans, clients):
        assert [v["version"] for v in done("history", folder, "--json").json["versions"]] == ["v1"]
        assert done("audit", "verify", "--in", folder, "--json").json["sound"] is True
        assert done("status", folder, "--json").json["serving"] == "v1"
    # Each workspace signs what it builds with a key of its own, and each goes on trusting its own.
    assert 0 <= done("predict", "--json", REQUEST, "--in", loans).json["score"] <= 1
    edit(loans, "reasons: 2", "reasons: 3")
    assert apply(loans) == ["evaluate", "gate", "package", "release"]
    body = '{"client": 3, "as_of": "2025-09-01"}'
    assert 0 <= done("predict", "--json", body, "--in", clients).json["score"] <= 1


def test_nobody_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("CHARTER_RECORDS_URL", "postgresql://charter:secret-word@127.0.0.1:1/none")
    folder = make_loans(tmp_path / "loans")
    said = charter("apply", folder)
    assert said.code == 2
    assert "CHARTER_RECORDS_URL" in said.err
    assert "secret-word" not in said.err + said.out
