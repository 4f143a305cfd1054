"""What every store of records must do. Derive from `RecordsConformance` and give it an address."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from charter.core.digest import Digest, digest_json
from charter.core.errors import UsageError
from charter.govern.audit import append, verify
from charter.govern.io.trail import Trail
from charter.registry.io.records import Records
from charter.registry.types import Approval, AuditEvent, Deployment, Grant, IdentityRecord, StageResult

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def some_digest(name: str) -> Digest:
    """Digest of a word."""
    return digest_json(name)


def some_result(stage: str, key: str, **changes: object) -> StageResult:
    """Make a result as a stage would record it."""
    values: dict[str, object] = {
        "stage": stage,
        "key": some_digest(key),
        "output": some_digest(f"{stage} of {key}"),
        "summary": {"rows": 3, "share": 0.1, "name": "naïve", "none": None},
        "seconds": 1.25,
        "actor": "eva",
        "finished_at": NOW,
        "inputs": {"data": some_digest("data")},
    }
    return StageResult(**{**values, **changes})  # type: ignore[arg-type]


def append_many(url: str, anchor: Path, worker: int, count: int) -> None:
    """Append entries from another process."""
    with Records.open(url) as records:
        trail = Trail(records, anchor)
        for number in range(count):
            trail.append(at=NOW, actor=f"worker-{worker}", action="count", subject=str(number))


def number_many(url: str, worker: int, count: int) -> list[int]:
    """Ask for version numbers from another process; every second bundle is everybody's."""
    with Records.open(url, model="m") as records:
        names = [f"{worker if n % 2 else 'all'} {n}" for n in range(count)]
        return [records.version_for(some_digest(n), spec=some_digest("spec"), now=NOW).number for n in names]


class RecordsConformance:
    """Tests that every `Records` must pass. A subclass provides the fixture ``url``: the address of empty records."""

    @pytest.fixture
    def url(self) -> str:
        """Address of empty records."""
        raise NotImplementedError

    @pytest.fixture
    def records(self, url: str) -> Iterator[Records]:
        """Open for writing, as model ``m``."""
        with Records.open(url, model="m") as records:
            yield records

    def test_a_result_comes_back_as_it_was(self, records: Records) -> None:
        """Nothing is lost on the way: not a microsecond, not a letter, not a null."""
        records.save_result(some_result("train", "a"))
        assert records.result("train", some_digest("a")) == some_result("train", "a")
        assert records.result("train", some_digest("b")) is None
        assert records.result("gate", some_digest("a")) is None

    def test_saving_again_replaces(self, records: Records) -> None:
        """One row for a stage and a key."""
        records.save_result(some_result("train", "a"))
        records.save_result(some_result("train", "a", seconds=9.0))
        assert [r.seconds for r in records.results("train")] == [9.0]

    def test_the_latest_is_the_one_used_last(self, records: Records) -> None:
        """Saved or touched, whatever the clock says."""
        records.save_result(some_result("train", "a"))
        records.save_result(some_result("train", "b", finished_at=NOW - timedelta(days=9)))
        assert records.latest("train") == some_result("train", "b", finished_at=NOW - timedelta(days=9))
        records.touch("train", some_digest("a"))
        assert records.latest("train") == some_result("train", "a")
        assert records.latest("gate") is None
        with pytest.raises(UsageError, match="no recorded result"):
            records.touch("train", some_digest("c"))

    def test_a_bundle_has_one_number(self, records: Records) -> None:
        """Retraining to the same bundle is the same version."""
        first = records.version_for(some_digest("a"), spec=some_digest("s"), now=NOW)
        second = records.version_for(some_digest("b"), spec=some_digest("s"), now=NOW)
        again = records.version_for(some_digest("a"), spec=some_digest("t"), now=NOW + timedelta(days=1))
        assert (first.number, second.number, first.name) == (1, 2, "v1")
        assert again == first == records.find_version(some_digest("a"))
        assert records.versions() == [first, second]

    def test_a_version_is_updated_field_by_field(self, records: Records) -> None:
        """What is not given stays."""
        records.version_for(some_digest("a"), spec=some_digest("s"), now=NOW)
        records.update_version(1, package=some_digest("p"))
        found = records.update_version(1, status="approved")
        assert (found.package, found.status) == (some_digest("p"), "approved")
        assert records.version(1) == found
        with pytest.raises(UsageError, match="there is no version v7") as error:
            records.version(7)
        assert "v1" in str(error.value)

    def test_models_do_not_see_each_other(self, records: Records) -> None:
        """Several models may share one database."""
        other = records.for_model("other")
        records.save_result(some_result("train", "a"))
        records.version_for(some_digest("a"), spec=some_digest("s"), now=NOW)
        assert other.latest("train") is None
        assert other.versions() == []
        assert other.version_for(some_digest("a"), spec=some_digest("s"), now=NOW).number == 1

    def test_identities_grants_approvals_deployments_keep_their_order(self, records: Records) -> None:
        """By the order of recording, not by time or name."""
        zoe, eva = (
            IdentityRecord("zoe", "00" * 32, NOW),
            IdentityRecord("eva", "11" * 32, NOW - timedelta(days=1)),
        )
        records.add_identity(zoe)
        records.add_identity(eva)
        assert records.identities() == [zoe, eva]
        for twice in (IdentityRecord("eva", "22" * 32, NOW), IdentityRecord("eve", "11" * 32, NOW)):
            with pytest.raises(UsageError, match="recorded already"):
                records.add_identity(twice)
        grants = [
            Grant("eva", role, "grant", "zoe", NOW, f"{n:02x}" * 64) for n, role in enumerate(("b", "a"))
        ]
        for grant in grants:
            records.add_grant(grant)
        assert records.grants() == grants
        records.version_for(some_digest("a"), spec=some_digest("s"), now=NOW)
        signed = [
            Approval(1, s, "eva", "risk-officer", "approve", "gut: nö", {"package": "p"}, NOW, "ff" * 64)
            for s in ("z", "a")
        ]
        for approval in signed:
            records.add_approval(approval)
        assert records.approvals(1) == signed
        assert records.approvals(2) == []
        assert records.deployment() is None
        tried = {"stage": "canary", "champion": "v1", "candidate": "v2"}
        deployments = [
            Deployment(1, some_digest("p"), "eva", NOW, {"gate": "g"}),
            Deployment(1, some_digest("q"), "eva", NOW, {"gate": "g"}, tried),
        ]
        for deployment in deployments:
            records.add_deployment(deployment)
        assert records.deployments() == deployments
        assert records.deployment() == deployments[1]

    def test_what_has_no_version_is_refused(self, records: Records) -> None:
        """Neither a signature nor a release without a version."""
        with pytest.raises(UsageError, match="no version v1"):
            records.add_approval(Approval(1, "s", "eva", "r", "approve", "", {}, NOW, ""))
        with pytest.raises(UsageError, match="no version v1"):
            records.add_deployment(Deployment(1, some_digest("p"), "eva", NOW))

    def test_a_failed_transaction_leaves_nothing(self, records: Records) -> None:
        """All or nothing."""
        with pytest.raises(RuntimeError, match="on purpose"), records.transaction() as tx:  # noqa: PT012
            tx.save_result(some_result("train", "a"))
            tx.append_event(lambda last: append(last, at=NOW, actor="eva", action="a", subject="s"))
            assert tx.latest("train") is not None
            raise RuntimeError("on purpose")
        assert records.latest("train") is None
        assert records.last_event() is None

    def test_the_audit_is_a_chain(self, records: Records) -> None:
        """Entries come back as they were written, and lead to the head."""

        def build(last: AuditEvent | None) -> AuditEvent:
            return append(
                last, at=NOW, actor="eva", action="a", subject="s", detail={"x": 0.1, "ü": [1, None]}
            )

        written = [records.append_event(build) for _ in range(3)]
        assert records.events() == written
        assert records.last_event() == written[-1]
        assert records.event(2) == written[1]
        assert records.event(9) is None

    def test_the_database_itself_keeps_the_audit(self, records: Records) -> None:
        """Neither change nor removal, even by our own code."""
        records.append_event(lambda last: append(last, at=NOW, actor="eva", action="a", subject="s"))
        with pytest.raises(Exception, match="append-only"):
            records._store.update("audit", {"actor": "eve"}, {"sequence": 1})

    def test_processes_append_one_after_the_other(self, url: str, tmp_path: Path) -> None:
        """Several writers at once, on records that do not exist yet: no entry lost, no number twice, anchored."""
        anchor, workers, each = tmp_path / "audit.head", 4, 8
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            jobs = [pool.submit(append_many, url, anchor, worker, each) for worker in range(workers)]
            for job in jobs:
                job.result(timeout=60)
            numbered = [pool.submit(number_many, url, worker, 6) for worker in range(workers)]
            numbers = [number for job in numbered for number in job.result(timeout=60)]
        with Records.open(url) as records:
            events, trail = records.events(), Trail(records, anchor)
            assert [e.sequence for e in events] == list(range(1, workers * each + 1))
            assert verify(events, trail.anchor()) == []
            found = trail.anchor()
            assert found is not None
            assert found.sequence == workers * each
        assert set(numbers) == set(range(1, workers * 3 + 3 + 1))

    def test_reading_only(self, url: str) -> None:
        """A reader finds nothing before there is anything, sees what was written, and may write nothing itself."""
        with Records.open(url, model="m", readonly=True) as reader:
            assert reader.latest("train") is None
        with Records.open(url, model="m") as records:
            records.save_result(some_result("train", "a"))
        with Records.open(url, model="m", readonly=True) as reader:
            assert reader.latest("train") == some_result("train", "a")
            with pytest.raises(UsageError, match="for reading only"):
                reader.save_result(some_result("train", "b"))
