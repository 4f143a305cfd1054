"""The version of the records' schema, and how they get there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charter.core.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

HEAD = "0002"
"""The present version; a test holds it equal to the last migration. Comparing spares importing Alembic."""

KNOWN = ("0001", "0002")


def refuse_newer(found: str | None) -> None:
    """Refuse records that a newer Charter wrote."""
    if found is not None and found not in KNOWN:
        raise UsageError(
            f"the records are of version {found}, which this Charter (up to {HEAD}) does not know",
            remedy="Install a newer Charter; nothing has been changed.",
        )


def refuse_older(found: str | None) -> None:
    """Refuse to read records that must first be brought to the present version."""
    if found != HEAD:
        raise UsageError(
            f"the records are of version {found}, older than {HEAD}",
            remedy="Run `charter apply`: it brings them to the present version.",
        )


def revision(connection: Connection) -> str | None:
    """Version of the schema of a database; None when it is empty."""
    from sqlalchemy import inspect, text

    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return str(found) if found is not None else None


def upgrade(connection: Connection) -> None:
    """Run the missing migrations within the open transaction of `connection`."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "charter.registry.io:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
