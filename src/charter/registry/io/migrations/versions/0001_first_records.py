"""The first records: results, versions, identities, grants, approvals, audit, deployments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _sequence() -> sa.Column[int]:
    return sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False)


def upgrade() -> None:
    """Create the tables, and let the database itself refuse to change or remove an audit entry."""
    op.create_table(
        "results",
        *_text("model", "stage", "key", "output", "summary", "inputs"),
        sa.Column("seconds", sa.Float, nullable=False),
        *_text("actor", "finished_at"),
        sa.Column("used", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("model", "stage", "key"),
    )
    op.create_index("results_by_use", "results", ["model", "stage", "used"])
    op.create_table(
        "versions",
        *_text("model"),
        sa.Column("number", sa.Integer, nullable=False),
        *_text("bundle", "spec", "created_at", "status"),
        *(sa.Column(name, sa.Text) for name in ("package", "evaluation", "gate")),
        sa.PrimaryKeyConstraint("model", "number"),
        sa.UniqueConstraint("model", "bundle", name="versions_one_per_bundle"),
    )
    op.create_table(
        "identities",
        _sequence(),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("public_key", sa.Text, nullable=False, unique=True),
        *_text("created_at"),
    )
    op.create_table(
        "grants",
        _sequence(),
        sa.Column("identity", sa.Text, sa.ForeignKey("identities.name"), nullable=False),
        *_text("role", "verdict"),
        sa.Column("granted_by", sa.Text, sa.ForeignKey("identities.name"), nullable=False),
        *_text("granted_at", "signature"),
    )
    op.create_table(
        "approvals",
        _sequence(),
        *_text("model"),
        sa.Column("version", sa.Integer, nullable=False),
        *_text("stage", "identity", "role", "verdict", "reason", "evidence", "signed_at", "signature"),
        sa.ForeignKeyConstraint(
            ["model", "version"], ["versions.model", "versions.number"], name="approvals_of_version"
        ),
    )
    op.create_index("approvals_by_version", "approvals", ["model", "version"])
    op.create_table(
        "audit", _sequence(), *_text("at", "actor", "action", "subject", "detail", "previous", "digest")
    )
    op.create_table(
        "deployments",
        _sequence(),
        *_text("model"),
        sa.Column("version", sa.Integer, nullable=False),
        *_text("package", "actor", "at", "evidence"),
        sa.ForeignKeyConstraint(
            ["model", "version"], ["versions.model", "versions.number"], name="deployments_of_version"
        ),
    )
    op.create_index("deployments_by_model", "deployments", ["model", "sequence"])
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_keeps_on_{verb.lower()} BEFORE {verb} ON audit "
                "BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END"
            )
    else:
        op.execute(
            "CREATE FUNCTION audit_keeps() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the audit trail is append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER audit_keeps BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit_keeps()"
        )
