"""Alembic's entry: run on the connection, and within the transaction, that the caller holds."""

from __future__ import annotations

from alembic import context

from charter.registry.io.tables import METADATA

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA)
context.run_migrations()
