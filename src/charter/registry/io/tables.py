"""Tables of the records, as SQLAlchemy knows them. The migrations build exactly these; a test compares."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData()


def _text(name: str, *, primary_key: bool = False, nullable: bool = False) -> Column[str]:
    return Column(name, Text, primary_key=primary_key, nullable=nullable)


def _sequence() -> Column[int]:
    return Column("sequence", Integer, primary_key=True, autoincrement=False)


Table(
    "results",
    METADATA,
    _text("model", primary_key=True),
    _text("stage", primary_key=True),
    _text("key", primary_key=True),
    _text("output"),
    _text("summary"),
    _text("inputs"),
    Column("seconds", Float, nullable=False),
    _text("actor"),
    _text("finished_at"),
    Column("used", Integer, nullable=False),
    Index("results_by_use", "model", "stage", "used"),
)
Table(
    "versions",
    METADATA,
    _text("model", primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    _text("bundle"),
    _text("spec"),
    _text("created_at"),
    _text("status"),
    _text("package", nullable=True),
    _text("evaluation", nullable=True),
    _text("gate", nullable=True),
    UniqueConstraint("model", "bundle", name="versions_one_per_bundle"),
)
Table(
    "identities",
    METADATA,
    _sequence(),
    Column("name", Text, nullable=False, unique=True),
    Column("public_key", Text, nullable=False, unique=True),
    _text("created_at"),
)
Table(
    "grants",
    METADATA,
    _sequence(),
    Column("identity", Text, ForeignKey("identities.name"), nullable=False),
    _text("role"),
    _text("verdict"),
    Column("granted_by", Text, ForeignKey("identities.name"), nullable=False),
    _text("granted_at"),
    _text("signature"),
)
Table(
    "approvals",
    METADATA,
    _sequence(),
    _text("model"),
    Column("version", Integer, nullable=False),
    _text("stage"),
    _text("identity"),
    _text("role"),
    _text("verdict"),
    _text("reason"),
    _text("evidence"),
    _text("signed_at"),
    _text("signature"),
    ForeignKeyConstraint(
        ["model", "version"], ["versions.model", "versions.number"], name="approvals_of_version"
    ),
    Index("approvals_by_version", "model", "version"),
)
Table(
    "audit",
    METADATA,
    _sequence(),
    _text("at"),
    _text("actor"),
    _text("action"),
    _text("subject"),
    _text("detail"),
    _text("previous"),
    _text("digest"),
)
Table(
    "deployments",
    METADATA,
    _sequence(),
    _text("model"),
    Column("version", Integer, nullable=False),
    _text("package"),
    _text("actor"),
    _text("at"),
    _text("evidence"),
    Column("traffic", Text, nullable=False, server_default="{}"),
    ForeignKeyConstraint(
        ["model", "version"], ["versions.model", "versions.number"], name="deployments_of_version"
    ),
    Index("deployments_by_model", "model", "sequence"),
)
