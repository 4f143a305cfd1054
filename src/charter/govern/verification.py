"""What checking a packaged version found, and whether that lets it be released. Pure.

Eight checks, each a `Decision` of its own: does the package keep the rules (standards), does it come up from nothing
(rebuild), is it as good as was recorded (re-validation), can it say why (explanation), may it be used (governance), do
the rows keep their contract (data quality), is it fast and small enough (resources), and does it get on with others
(integration: contract, errors, way back).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from charter.core.clock import iso, parse_iso
from charter.core.decision import Check, Decision, Verdict
from charter.core.digest import Digest, digest_json, short
from charter.registry.types import AuditEvent

STRENGTH: Mapping[str, int] = {"none": 0, "light": 1, "robust": 2}
"""A stronger profile does whatever a weaker one does, with more of it."""
ACTION = "version.verified"
"""Of the audit event that tells of a verification."""
CHECKS: Mapping[str, str] = {
    "standards": "the package is whole, signed and valid here",
    "rebuild": "it comes up from the records alone, as in production",
    "re-validation": "what it answers is as good as was recorded",
    "explanation": "its reasons are there, the same each time, and add up",
    "governance": "groups are treated within the limits; decisions and documents are there",
    "data quality": "the held-out rows keep the contract",
    "resources": "latency, memory and size are within the budget",
    "integration": "its contract, bad requests, and the way back",
}
"""The checks in their order, each with the question that it answers."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found of one package.

    Attributes
    ----------
    package
        Digest of what was checked.
    machine
        Processor, number of cores, system: what times and sizes were measured on.
    checks
        One decision for each of `CHECKS`.
    seconds
        Check to how long it took.
    """

    model: str
    version: str
    package: Digest
    profile: str
    began: str
    machine: Mapping[str, str]
    checks: tuple[Decision, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def decision(self) -> Decision:
        """All of it in one: a check for each of the eight."""
        return Decision.of(
            f"verify {self.version}",
            [_summary(one) for one in self.checks],
            {"package": self.package},
        )

    @property
    def digest(self) -> Digest:
        """Of the report."""
        return digest_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "schema_version": 1,
            "model": self.model,
            "version": self.version,
            "package": self.package,
            "profile": self.profile,
            "began": self.began,
            "machine": dict(self.machine),
            "verdict": self.decision.verdict.value,
            "checks": [one.to_json() for one in self.checks],
            "seconds": dict(self.seconds),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verification:
        """Inverse of `to_json`."""
        return cls(
            data["model"],
            data["version"],
            Digest(data["package"]),
            data["profile"],
            data["began"],
            dict(data["machine"]),
            tuple(Decision.from_json(one) for one in data["checks"]),
            dict(data["seconds"]),
        )

    def told(self) -> dict[str, Any]:
        """Detail of the audit event."""
        return {
            "model": self.model,
            "package": self.package,
            "profile": self.profile,
            "verdict": self.decision.verdict.value,
            "report": self.digest,
            "checks": {one.subject: one.verdict.value for one in self.checks},
        }


def _summary(decision: Decision) -> Check:
    total, met = len(decision.checks), sum(c.verdict.allows for c in decision.checks)
    first = next(iter(decision.reasons), None)
    note = f"{first.name}: {first.observed}, required {first.required}" if first is not None else ""
    return Check(decision.subject, f"{met} of {total} met", "all met", decision.verdict, note=note)


def last_of(events: Sequence[AuditEvent], package: str, profile: str = "light") -> AuditEvent | None:
    """Return the last verification of exactly this package that was at least as strong as ``profile``."""
    return next(
        (
            event
            for event in reversed(events)
            if event.action == ACTION
            and event.detail.get("package") == package
            and STRENGTH.get(str(event.detail.get("profile")), 0) >= STRENGTH[profile]
        ),
        None,
    )


def judge_verified(
    required: str, events: Sequence[AuditEvent], package: str, *, version: str, where: str = ""
) -> Decision:
    """Judge whether a package was verified as the specification asks for.

    The last verification that is strong enough counts, and only one of exactly these bytes; one that failed undoes
    those before it, whatever its profile.

    Parameters
    ----------
    required
        ``none``, ``light`` or ``robust``: the specification's ``release.verify``.
    events
        A whole audit trail, oldest first.

    Examples
    --------
    >>> judge_verified("none", [], "ab" * 32, version="v1").verdict
    <Verdict.PASS: 'pass'>
    >>> judge_verified("light", [], "ab" * 32, version="v1").reasons[0].observed
    'never verified'
    """
    asked = f"a passed verification, {required}" if required != "none" else "none"
    if required == "none":
        return Decision.of("verify", [Check("verification", "not asked for", asked, Verdict.PASS, where)])
    command = f"`charter verify {version} --profile {required}`"
    strong, newest = last_of(events, package, required), last_of(events, package)
    if strong is None or newest is None:
        seen = "never verified" if newest is None else f"verified {newest.detail.get('profile')} only"
        check = Check("verification", seen, asked, Verdict.UNKNOWN, where, f"run {command}")
        return Decision.of("verify", [check], {"package": package})
    counted = newest if _verdict(newest) is Verdict.FAIL else strong
    verdict = _verdict(counted)
    seen = f"{verdict.value}, {counted.detail.get('profile')}, {iso(counted.at)[:19]}Z"
    note = "" if verdict.allows else f"mend what it found, then run {command}"
    check = Check("verification", seen, asked, verdict, where, note)
    return Decision.of("verify", [check], {"package": package, "report": str(counted.detail.get("report"))})


def _verdict(event: AuditEvent) -> Verdict:
    """What an event says was found; anything else than a verdict is not known."""
    found = event.detail.get("verdict")
    return Verdict(found) if found in set(Verdict) else Verdict.UNKNOWN


def headline(found: Verification) -> str:
    """Say in one line what came out.

    Examples
    --------
    >>> headline(Verification("loans", "v1", Digest("ab" * 32), "light", "2026-01-02T00:00:00.000000Z", {}, ()))
    'loans v1, package abababab: unknown (0 of 0 checks passed, profile light, 2026-01-02 00:00 UTC)'
    """
    passed = sum(one.allows for one in found.checks)
    moment = f"{parse_iso(found.began):%Y-%m-%d %H:%M} UTC"
    return (
        f"{found.model} {found.version}, package {short(found.package)}: {found.decision.verdict.value} "
        f"({passed} of {len(found.checks)} checks passed, profile {found.profile}, {moment})"
    )
