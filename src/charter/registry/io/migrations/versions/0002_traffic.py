"""What a deployment sends to another version than the one that serves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Let a deployment say who answers which request; those that are there let one version answer everything."""
    op.add_column("deployments", sa.Column("traffic", sa.Text, nullable=False, server_default="{}"))
