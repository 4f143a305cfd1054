"""Verifying a packaged version before release: eight checks against a real server in a clean process, on the record."""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charter.core.clock import iso
from charter.core.decision import Check, Decision, Verdict
from charter.core.digest import Digest, canonical_json, short
from charter.core.errors import CharterError, PackageError, Refusal, SpecError, UsageError
from charter.core.nearest import did_you_mean
from charter.core.progress import NoProgress, Progress
from charter.flow import verify_answers as answers
from charter.flow import verify_service as service
from charter.flow.observe import judge_approvals
from charter.flow.verify_subject import Subject, environment, machine, subject
from charter.flow.workspace import Workspace
from charter.govern.verification import ACTION, CHECKS, Verification, judge_verified
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.registry.io.records import Records
    from charter.serve.io.server import Running

READY_S = 120.0
"""A server that is not ready after so long does not come up."""
_WRONG = re.compile(r"Traceback|\b(ERROR|CRITICAL|FATAL)\b")


@dataclass(frozen=True, slots=True)
class Profile:
    """How much is done.

    Attributes
    ----------
    rows
        Held-out rows that are sent; None sends all.
    reasons
        Rows whose reasons are asked for, twice.
    per_second, seconds
        Of the load.
    bad_requests
        How many.
    rebuild
        Whether the version is built again from its sources.
    """

    name: str
    rows: int | None
    reasons: int
    per_second: float
    seconds: float
    bad_requests: int
    rebuild: bool


PROFILES: Mapping[str, Profile] = {
    "light": Profile("light", 2_000, 100, 50.0, 5.0, 1_000, rebuild=False),
    "robust": Profile("robust", None, 1_000, 50.0, 60.0, 5_000, rebuild=True),
}


def profile_of(name: str) -> Profile:
    """Find a profile by name.

    Raises
    ------
    UsageError
        When there is none of that name.
    """
    if name not in PROFILES:
        raise UsageError(f"--profile is {name!r}; {did_you_mean(name, PROFILES)}")
    return PROFILES[name]


def verify(
    workspace: Workspace,
    loaded: Loaded,
    version: str | None,
    profile: Profile,
    *,
    progress: Progress | None = None,
) -> Verification:
    """Check a packaged version and record what was found.

    The server runs in a process of its own, with an environment of its own, from the package laid out anew; records,
    deployment file and log are copies. What serves is not touched. The report becomes a blob, and its digest an entry
    of the audit trail.

    Parameters
    ----------
    version
        For example ``v3``; None is the one that was packaged last.

    Raises
    ------
    Refusal
        When the version is not packaged, or the records are not what the audit trail tells.
    """
    progress, seconds = progress or NoProgress(), dict.fromkeys(CHECKS, 0.0)
    began = iso(workspace.clock.now())
    with subject(workspace, loaded, version or _newest(workspace, loaded)) as under_test:
        found = _check(workspace, under_test, profile, seconds, progress)
        report = Verification(
            loaded.spec.name,
            under_test.version.name,
            under_test.package,
            profile.name,
            began,
            machine(),
            found,
            {name: round(took, 3) for name, took in seconds.items()},
        )
    _record(workspace, loaded, report)
    return report


def _newest(workspace: Workspace, loaded: Loaded) -> str:
    with workspace.records(loaded.spec.name, readonly=True) as records:
        result = records.latest("package")
    if result is None:
        raise Refusal(
            f"nothing of {loaded.spec.name} is packaged: there is nothing to verify",
            remedy="It is packaged when it meets its requirements: `charter apply`, `charter status`.",
        )
    return f"v{result.summary['version']}"


def _record(workspace: Workspace, loaded: Loaded, report: Verification) -> None:
    from charter.govern.io.trail import Trail

    workspace.blobs().put_bytes(canonical_json(report.to_json()))
    with workspace.records(loaded.spec.name) as records:
        Trail(records, workspace.anchor_file).append(
            at=workspace.clock.now(),
            actor=workspace.settings.actor,
            action=ACTION,
            subject=report.version,
            detail=report.told(),
        )


def refuse_unverified(workspace: Workspace, loaded: Loaded, records: Records, package: Digest) -> Decision:
    """Refuse to release a package that was not verified as ``release.verify`` asks for; return the judgement else.

    Raises
    ------
    Refusal
        Saying what is missing; the audit trail then tells of it, too.
    """
    from charter.flow.moves import refusing

    required = loaded.spec.release.verify
    built = next((r for r in records.results("package") if r.output == package), None)
    version = f"v{built.summary['version']}" if built is not None else short(package)
    place = loaded.source.where(("release", "verify"))
    decision = judge_verified(required, records.events(), package, version=version, where=place)
    with refusing(workspace, loaded, version, "release it", None, action="release.refused"):
        if not decision.allows:
            raise Refusal(
                f"{version} is not verified as release.verify: {required} asks for",
                decision=decision,
                remedy=f"Run `charter verify {version} --profile {required}`, then go on.",
            )
    return decision


# ------------------------------------------------------------------------------------------------------- the checks
def _check(
    workspace: Workspace, it: Subject, profile: Profile, seconds: dict[str, float], progress: Progress
) -> tuple[Decision, ...]:
    from charter.serve.deployment import Deployment
    from charter.serve.io.loading import write_deployment
    from charter.serve.io.server import start

    done: dict[str, Decision] = {}

    def step(name: str, work: Callable[[], Decision]) -> None:
        progress.start(f"{name}: {CHECKS[name]}")
        started = time.monotonic()
        done[name] = carried_out(name, work)
        seconds[name] += time.monotonic() - started
        progress.finish()

    step("standards", lambda: _standards(it))
    write_deployment(it.deployment, Deployment((it.model,), it.workspace.state / "log"))
    started = time.monotonic()
    try:
        server = start(it.deployment, log=it.server_log, timeout_s=READY_S, environment=environment(it))
    except UsageError as error:
        said = it.server_log.read_text(errors="replace")[-300:]
        failed = Check("server", f"{error.message}: {said}", "ready", Verdict.FAIL)
        nothing = Check("server", "did not start", "ready", Verdict.UNKNOWN)
        return tuple(
            done.get(name, Decision.of(name, [failed if name == "rebuild" else nothing])) for name in CHECKS
        )
    ready = time.monotonic() - started
    try:
        _serve(workspace, it, profile, server, step)
    finally:
        code = server.stop()
    step("rebuild", lambda: _rebuild(workspace, it, profile, ready, code, progress))
    return tuple(done[name] for name in CHECKS)


def _serve(
    workspace: Workspace,
    it: Subject,
    profile: Profile,
    server: Running,
    step: Callable[[str, Callable[[], Decision]], None],
) -> None:
    """Carry out the checks that ask the server."""
    from charter.serve.io.client import Client
    from charter.serve.io.loading import read_history
    from charter.serve.scorer import Scorer

    scorer = Scorer.load(it.model.package, read_history(it.model.package, it.model.history.get))
    rate = profile.per_second
    with Client(server.url) as client:
        # Memory first, while the server has seen nothing else.
        step(
            "resources",
            lambda: service.resources(
                it,
                service.put_under_load(it, server, per_second=rate, seconds=profile.seconds),
                per_second=rate,
                seconds=profile.seconds,
            ),
        )
        told: list[answers.Answers] = []
        again: list[answers.Remeasured] = []

        def revalidate() -> Decision:
            told.append(answers.ask(it, client, profile.rows))
            again.append(answers.remeasure(it, scorer, told[0]))
            return answers.revalidation(it, told[0], again[0])

        step("re-validation", revalidate)
        step("data quality", lambda: answers.data_quality(it, told[0]))
        step("explanation", lambda: answers.explanation(it, client, scorer, profile.reasons))
        step("governance", lambda: answers.governance(it, again[0], _decided(workspace, it)))
        step(
            "integration",
            lambda: Decision.of(
                "integration",
                [
                    service.contract(it, client),
                    *service.errors(it, client, server, profile.bad_requests),
                    *service.way_back(it, server, per_second=min(rate, 20.0)),
                ],
            ),
        )


def carried_out(name: str, work: Callable[[], Decision]) -> Decision:
    """Carry a check out; what it cannot find out for want of an answer fails."""
    try:
        return work()
    except (OSError, http.client.HTTPException) as error:
        said = str(error) or type(error).__name__
    except (LookupError, TypeError, ValueError) as error:  # an answer that lacks what an answer holds
        said = f"an answer is malformed: {type(error).__name__} {error}"
    except ExceptionGroup as group:
        rest = group.subgroup(lambda e: not isinstance(e, OSError | ExceptionGroup))
        if rest is not None:
            raise
        said = str(group.exceptions[0])
    except CharterError as error:
        said = error.message
    return Decision.of(name, [Check(name, f"could not be carried out: {said}", CHECKS[name], Verdict.FAIL)])


def _standards(it: Subject) -> Decision:
    from charter.registry.environment import code_version, mismatches, runtime
    from charter.registry.io.packages import verify as prove
    from charter.spec.loader import loads

    try:
        info = prove(it.model.package, it.model.trusted_keys)
    except PackageError as error:
        return Decision.of("standards", [Check("package", error.message, "whole and signed", Verdict.FAIL)])
    files = info.manifest.files
    try:
        loads((it.model.package / "spec.json").read_text(encoding="utf-8"), file="spec.json")
        faults = "valid"
    except SpecError as error:
        faults = error.message.splitlines()[0]
    apart = mismatches(info.manifest.environment, runtime())
    code = code_version()
    return Decision.of(
        "standards",
        [
            Check("signature", f"by {info.signer}", "by a builder of this workspace", Verdict.PASS),
            Check("files", f"{len(files)}, each as the manifest says", "data only, nothing unpickled", Verdict.PASS),
            Check("specification", faults, "valid in this program", _passed(faults == "valid")),
            Check(
                "libraries", f"{len(apart)} differ", "those that it was made with",
                Verdict.WARN if apart else Verdict.PASS, note="; ".join(apart),
            ),
            Check(
                "code of Charter", code, info.manifest.code_version,
                Verdict.PASS if code == info.manifest.code_version else Verdict.WARN,
                note="" if code == info.manifest.code_version else "made by other code than serves it here",
            ),
        ],
    )  # fmt: skip


def _rebuild(
    workspace: Workspace, it: Subject, profile: Profile, ready: float, code: int, progress: Progress
) -> Decision:
    said = it.server_log.read_text(encoding="utf-8", errors="replace")
    wrong = [line for line in said.splitlines() if _WRONG.search(line)]
    checks = [
        Check("laid out", f"package {short(it.package)} from the blobs", "in an empty folder", Verdict.PASS),
        Check("server", f"ready after {ready:.1f} s", f"ready within {READY_S:g} s", Verdict.PASS,
              note="a new process with an environment of its own"),
        Check("error log", f"{len(wrong)} lines", "no errors", _passed(not wrong), note=" ".join(wrong[:1])[:200]),
        Check("end", f"exit code {code}", "0 after SIGTERM", _passed(code == 0)),
    ]  # fmt: skip
    if it.spec.serve.features.store != "history":
        note = "held-out rows are about the past, and a store holds the present: it answers as fresh as it was filled"
        checks.append(
            Check("feature store", "not asked", "features from events, exact", Verdict.WARN, note=note)
        )
    if profile.rebuild:
        checks.append(_built_again(workspace, it, progress))
    return Decision.of("rebuild", checks)


def _built_again(workspace: Workspace, it: Subject, progress: Progress) -> Check:
    """Train and package the version once more from what is recorded of it."""
    from charter.flow.reproduce import reproduce
    from charter.registry.package import MANIFEST

    report = reproduce(workspace, it.loaded, it.version.name, progress=progress)
    # Another Charter writes another environment, and defaults of fields that it has learned since: no other model.
    same = set(report.differences) <= ({MANIFEST, "spec.json"} if report.environment else {MANIFEST})
    verdict = Verdict.PASS if report.identical else Verdict.WARN if same else Verdict.FAIL
    return Check(
        "built again",
        f"from {report.rows}: {'identical' if report.identical else ', '.join(report.differences)}",
        "the same bytes",
        verdict,
        note="" if report.identical else report.lines()[-1].strip(),
    )


def _decided(workspace: Workspace, it: Subject) -> list[Check]:
    """What persons have decided and stated so far; a version is mostly verified before it is signed."""
    with workspace.records(it.loaded.spec.name, readonly=True) as records:
        approvals = judge_approvals(workspace, it.loaded, records, it.package)
    missing = [c.name for c in approvals.reasons]
    return [
        Check("audit trail", "whole", "whole", Verdict.PASS),  # else nothing would have been verified
        Check(
            "approvals", f"{len(missing)} missing" if missing else "all there", "all there",
            Verdict.WARN if missing else Verdict.PASS, note=", ".join(missing),
        ),
    ]  # fmt: skip


def _passed(met: bool) -> Verdict:
    return Verdict.PASS if met else Verdict.FAIL
