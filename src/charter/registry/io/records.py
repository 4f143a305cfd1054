"""The records of a workspace: stage results, versions, identities, approvals, audit, deployments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any

from charter.core.digest import Digest
from charter.core.errors import Busy, UsageError
from charter.registry.io import schema
from charter.registry.io.sqlite import NoStore, SqliteReader, sqlite_path
from charter.registry.ports import Row, Store
from charter.registry.rows import GOVERNED, STANDING, decode, encode
from charter.registry.types import (
    Approval,
    AuditEvent,
    Deployment,
    Grant,
    IdentityRecord,
    ModelVersion,
    StageResult,
    VersionStatus,
)

TABLES = ("results", "versions", "identities", "grants", "approvals", "audit", "deployments")
"""Each after those that it refers to."""
_MOMENTS = 10


class Records:
    """What Charter remembers, in SQLite or PostgreSQL. A method is a transaction unless within `transaction`.

    Results, versions, approvals and deployments belong to one `model`; identities and the audit trail are
    shared by all models that use the same records.
    """

    def __init__(self, store: Store, model: str = "") -> None:
        self._store = store
        self._model = model

    @classmethod
    def open(
        cls, url: str, *, model: str = "", readonly: bool = False, wait_seconds: float | None = None
    ) -> Records:
        """Open the records at a SQLAlchemy address.

        Opening for writing creates the records, or brings older ones to the present version, under a lock.
        Opening for reading changes nothing: records that are not there yet read as empty.

        Parameters
        ----------
        url
            ``sqlite:////absolute/path`` or ``postgresql://user:password@host/database``.
        model
            Name of the specification, for databases that several models share.
        readonly
            Only look.
        wait_seconds
            How long to wait for another process that writes; None is half a minute.

        Raises
        ------
        UsageError
            When the address is malformed, the file is no database, or a newer Charter wrote the records.
        Busy
            When another process holds the records for too long.
        """
        path = sqlite_path(url)
        if readonly and path is not None:
            if not path.exists() or path.stat().st_size == 0:
                return cls(NoStore(), model)
            reader = SqliteReader(path)
            try:
                if reader.empty:  # whoever began to make them was killed before the first table was kept
                    reader.close()
                    return cls(NoStore(), model)
                found = reader.revision()
                schema.refuse_newer(found)
                schema.refuse_older(found)
            except UsageError:
                reader.close()
                raise
            return cls(reader, model)
        from charter.registry.io.database import (
            Database,
        )  # SQLAlchemy: half a second that reading SQLite does without

        if readonly:
            return cls(Database.look(url) or NoStore(), model)
        return cls(Database.connect(url, wait_seconds), model)

    def for_model(self, model: str) -> Records:
        """Return the same records, seen as another model's."""
        return Records(self._store, model)

    @contextmanager
    def transaction(self) -> Iterator[Records]:
        """Several changes, all or nothing; the only writer meanwhile, over all processes.

        Examples
        --------
        ``with records.transaction() as tx: tx.add_approval(approval); tx.append_event(build)``
        """
        with self._store.transaction() as store:
            yield Records(store, self._model)

    def close(self) -> None:
        """Close the connections."""
        self._store.close()

    def __enter__(self) -> Records:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def copy_to(self, url: str) -> None:
        """Copy every row, of all models, into new records: what then happens to the copy leaves these as they are.

        Raises
        ------
        UsageError
            When there are records at ``url`` already.
        Busy
            When somebody writes so often meanwhile that no moment can be caught.
        """
        for _ in range(_MOMENTS):
            before = self.last_event()
            rows = {table: self._store.rows(table) for table in TABLES}
            if before == self.last_event():  # rows that count are written only together with an event
                break
        else:
            raise Busy("the records are being written to", remedy="Try again when `charter apply` has ended.")
        with Records.open(url) as fresh, fresh.transaction() as tx:
            if any(tx._store.rows(table, limit=1) for table in TABLES):
                raise UsageError(f"{url}: there are records already", remedy="Name another place.")
            for table, found in rows.items():
                for row in found:
                    tx._store.insert(table, row)

    # --------------------------------------------------------------------------------------- stage results
    def result(self, stage: str, key: str) -> StageResult | None:
        """Return the result of a stage for one digest of inputs, if it was ever made."""
        found = self._store.rows("results", self._mine(stage=stage, key=key))
        return decode(StageResult, found[0]) if found else None

    def latest(self, stage: str) -> StageResult | None:
        """Return the result of a stage that was used most recently (saved or touched)."""
        found = self._store.rows("results", self._mine(stage=stage), order=("-used",), limit=1)
        return decode(StageResult, found[0]) if found else None

    def results(self, stage: str) -> list[StageResult]:
        """Return all results of a stage, most recently used first."""
        found = self._store.rows("results", self._mine(stage=stage), order=("-used",))
        return [decode(StageResult, row) for row in found]

    def save_result(self, result: StageResult) -> None:
        """Record a result, or replace that of the same stage and key; it becomes the latest of its stage."""
        with self.transaction() as tx:
            where = self._mine(stage=result.stage, key=result.key)
            values = {**encode(result), "used": tx._next_use(result.stage)}
            if not tx._store.update("results", values, where):
                tx._store.insert("results", {**values, "model": self._model})

    def touch(self, stage: str, key: str) -> None:
        """Say that a recorded result was used again: it becomes the latest of its stage.

        Raises
        ------
        UsageError
            When there is no such result.
        """
        with self.transaction() as tx:
            latest = tx.latest(stage)
            if latest is not None and latest.key == key:
                return
            where = self._mine(stage=stage, key=key)
            if not tx._store.update("results", {"used": tx._next_use(stage)}, where):
                raise UsageError(f"stage {stage!r} has no recorded result for inputs {key[:8]}")

    def _next_use(self, stage: str) -> int:
        found = self._store.rows("results", self._mine(stage=stage), order=("-used",), limit=1)
        return int(found[0]["used"]) + 1 if found else 1

    # -------------------------------------------------------------------------------------------- versions
    def version_for(self, bundle: Digest, *, spec: Digest, now: datetime) -> ModelVersion:
        """Return the version of a bundle, giving it the next number when it is new."""
        with self.transaction() as tx:
            found = tx._store.rows("versions", self._mine(bundle=bundle))
            if found:
                return decode(ModelVersion, found[0])
            last = tx._store.rows("versions", self._mine(), order=("-number",), limit=1)
            version = ModelVersion(int(last[0]["number"]) + 1 if last else 1, bundle, spec, now)
            tx._store.insert("versions", {**encode(version), "model": self._model})
            return version

    def find_version(self, bundle: str) -> ModelVersion | None:
        """Return the version of a bundle, if it has one."""
        found = self._store.rows("versions", self._mine(bundle=bundle))
        return decode(ModelVersion, found[0]) if found else None

    def versions(self) -> list[ModelVersion]:
        """Return all versions, oldest first."""
        return [
            decode(ModelVersion, row) for row in self._store.rows("versions", self._mine(), order=("number",))
        ]

    def version(self, number: int) -> ModelVersion:
        """Return one version.

        Raises
        ------
        UsageError
            When there is no such version; says which there are.
        """
        found = self._store.rows("versions", self._mine(number=number))
        if not found:
            known = (
                ", ".join(v.name for v in self.versions()[-8:]) or "none yet; `charter apply` makes the first"
            )
            raise UsageError(f"there is no version v{number}", remedy=f"Versions: {known}")
        return decode(ModelVersion, found[0])

    def update_version(
        self,
        number: int,
        *,
        package: Digest | None = None,
        evaluation: Digest | None = None,
        gate: Digest | None = None,
        status: VersionStatus | None = None,
    ) -> ModelVersion:
        """Record what was made of, or decided about, a version; what is None stays as it is."""
        given = {"package": package, "evaluation": evaluation, "gate": gate, "status": status}
        with self.transaction() as tx:
            tx.version(number)
            values = {name: value for name, value in given.items() if value is not None}
            if values:
                tx._store.update("versions", values, self._mine(number=number))
            return tx.version(number)

    # ----------------------------------------------------------------------- identities, grants, approvals
    def add_identity(self, identity: IdentityRecord) -> None:
        """Record a public key under a new name.

        Raises
        ------
        UsageError
            When the name or the key is recorded already.
        """
        with self.transaction() as tx:
            for column in ("name", "public_key"):
                if tx._store.rows("identities", {column: getattr(identity, column)}):
                    what = "name" if column == "name" else "public key"
                    raise UsageError(
                        f"identity {identity.name!r}: this {what} is recorded already",
                        remedy="Choose another name; `charter identity grant` gives an identity further roles.",
                    )
            tx._append("identities", encode(identity))

    def identities(self) -> list[IdentityRecord]:
        """Return all identities as they were recorded; the first is the first administrator."""
        return [decode(IdentityRecord, row) for row in self._store.rows("identities", order=("sequence",))]

    def add_grant(self, grant: Grant) -> None:
        """Record a signed grant or revocation; `charter.govern.identity.standing` judges if it counts."""
        with self.transaction() as tx:
            tx._append("grants", encode(grant))

    def grants(self) -> list[Grant]:
        """Return all grants and revocations, oldest first."""
        return [decode(Grant, row) for row in self._store.rows("grants", order=("sequence",))]

    def add_approval(self, approval: Approval) -> None:
        """Record a signed approval or rejection of one of this model's versions."""
        with self.transaction() as tx:
            tx.version(approval.version)
            tx._append("approvals", {**encode(approval), "model": self._model})

    def approvals(self, version: int) -> list[Approval]:
        """Return what was signed on a version, oldest first."""
        found = self._store.rows("approvals", self._mine(version=version), order=("sequence",))
        return [decode(Approval, row) for row in found]

    # ----------------------------------------------------------------------------------- audit, deployment
    def append_event(self, build: Callable[[AuditEvent | None], AuditEvent]) -> AuditEvent:
        """Append one link to the audit chain.

        Parameters
        ----------
        build
            Makes the new entry from the last one (None for the first): `charter.govern.audit.append`.
        """
        with self.transaction() as tx:
            added = build(tx.last_event())
            tx._store.insert("audit", encode(added))
            return added

    def last_event(self) -> AuditEvent | None:
        """Return the end of the audit chain."""
        found = self._store.rows("audit", order=("-sequence",), limit=1)
        return decode(AuditEvent, found[0]) if found else None

    def event(self, sequence: int) -> AuditEvent | None:
        """Return one entry of the audit trail."""
        found = self._store.rows("audit", {"sequence": sequence})
        return decode(AuditEvent, found[0]) if found else None

    def events(self, *, actions: Iterable[str] | None = None, subject: str | None = None) -> list[AuditEvent]:
        """Return the audit trail by sequence.

        Parameters
        ----------
        actions, subject
            Only entries of one of these actions, and about this subject: a trail grows for years.
        """
        own = {"subject": subject} if subject is not None else {}
        wanted = [own] if actions is None else [{**own, "action": one} for one in actions]
        rows = [row for where in wanted for row in self._store.rows("audit", where, order=("sequence",))]
        return sorted((decode(AuditEvent, row) for row in rows), key=lambda event: event.sequence)

    def add_deployment(self, deployment: Deployment) -> None:
        """Record what serves from now on."""
        with self.transaction() as tx:
            tx.version(deployment.version)
            tx._append("deployments", {**encode(deployment), "model": self._model})

    def deployment(self) -> Deployment | None:
        """Return what serves now."""
        found = self._store.rows("deployments", self._mine(), order=("-sequence",), limit=1)
        return decode(Deployment, found[0]) if found else None

    def deployments(self) -> list[Deployment]:
        """Return all deployments, oldest first."""
        found = self._store.rows("deployments", self._mine(), order=("sequence",))
        return [decode(Deployment, row) for row in found]

    def governed(self) -> dict[str, list[Row]]:
        """Return all rows that the audit trail tells of, of all models as they are stored, by table."""
        found = {table: self._store.rows(table, order=("sequence",)) for table in GOVERNED}
        return found | {table: self._store.rows(table, order=key) for table, key in STANDING.items()}

    # ------------------------------------------------------------------------------------------------- own
    def _mine(self, **where: Any) -> dict[str, Any]:
        return {"model": self._model, **where}

    def _append(self, table: str, values: Mapping[str, Any]) -> None:
        last = self._store.rows(table, order=("-sequence",), limit=1)
        self._store.insert(table, {**values, "sequence": int(last[0]["sequence"]) + 1 if last else 1})
