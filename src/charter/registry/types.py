"""What the records keep: results, versions, approvals, identities, the audit trail, deployments. Frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from charter.core.digest import Digest

VersionStatus = Literal["candidate", "refused", "waiting", "approved", "staging", "released", "retired"]
"""``staging``: approved, and waiting for the rollout that the specification asks for."""


@dataclass(frozen=True, slots=True)
class StageResult:
    """What a stage gave for one set of inputs. Recorded only after its blobs are on disk.

    Attributes
    ----------
    stage, key
        Name of the stage and digest of its inputs; together they identify the result.
    output
        Digest of the tree of blobs (or the JSON) that the stage made.
    summary
        Plain JSON for people: row counts, the best learner, a Decision.
    seconds
        How long the work took.
    actor
        Who ran it.
    finished_at
        When, aware, UTC.
    inputs
        Name to digest of what went into `key`, so that a plan can say which input changed.
    """

    stage: str
    key: Digest
    output: Digest
    summary: Mapping[str, Any]
    seconds: float
    actor: str
    finished_at: datetime
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A bundle with a number. Judging again, repackaging and approving do not make a new version.

    Attributes
    ----------
    bundle
        Digest of the train stage's output.
    spec
        Digest of the specification that first gave this bundle.
    package, evaluation, gate
        Digests of what was last made for this version; None until then.
    """

    number: int
    bundle: Digest
    spec: Digest
    created_at: datetime
    status: VersionStatus = "candidate"
    package: Digest | None = None
    evaluation: Digest | None = None
    gate: Digest | None = None

    @property
    def name(self) -> str:
        """How people call it: ``v3``."""
        return f"v{self.number}"


@dataclass(frozen=True, slots=True)
class IdentityRecord:
    """A person's (or a machine's) public key. What they may do stands in grants."""

    name: str
    public_key: str
    """Ed25519, raw, 64 hexadecimal characters."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Grant:
    """An administrator's signed word that an identity has, or no longer has, a role."""

    identity: str
    role: str
    verdict: Literal["grant", "revoke"]
    granted_by: str
    granted_at: datetime
    signature: str


@dataclass(frozen=True, slots=True)
class Approval:
    """A signed verdict of one person on one stage of one version.

    Attributes
    ----------
    evidence
        Name to digest of everything that the signer looked at. When one of them changes, the approval lapses.
    signature
        Ed25519 over the canonical JSON of all other fields, hexadecimal.
    """

    version: int
    stage: str
    identity: str
    role: str
    verdict: Literal["approve", "reject"]
    reason: str
    evidence: Mapping[str, str]
    signed_at: datetime
    signature: str


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One link of the audit chain.

    Attributes
    ----------
    sequence
        1, 2, 3, ... without gaps. Order is by sequence: `at` is what the clock said, and clocks go astray.
    previous
        Digest of the entry before; 64 zeros for the first.
    digest
        Digest of the canonical JSON of all other fields.
    """

    sequence: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]
    previous: str
    digest: str


@dataclass(frozen=True, slots=True)
class Deployment:
    """What serves from this moment on. The latest one counts.

    Attributes
    ----------
    version, package
        The champion: what answers whatever `traffic` sends nowhere else.
    traffic
        `charter.registry.traffic.Traffic` as plain data while another version is being tried, or the model is stopped;
        empty where `version` answers everything.
    """

    version: int
    package: Digest
    actor: str
    at: datetime
    evidence: Mapping[str, str] = field(default_factory=dict)
    traffic: Mapping[str, Any] = field(default_factory=dict)
