"""The checks of how a version serves: resources, and how it gets on with others (contract, errors, the way back)."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from charter.core.decision import Check, Decision, Verdict
from charter.core.errors import CharterError, Refusal
from charter.flow.verify_answers import spread
from charter.flow.verify_subject import Subject
from charter.flow.views import with_lines
from charter.serve.contract import Contract, cases, goods, predict_path

if TYPE_CHECKING:
    from charter.registry.types import Deployment
    from charter.serve.io.client import Client
    from charter.serve.io.footprint import Footprint
    from charter.serve.io.load import Load
    from charter.serve.io.server import Running

BODIES = 200
"""Different held-out rows that a load is made of."""
WARM_UP = 100
"""Requests before memory is first looked at: caches and pools fill, and that is no leak."""
ON_TIME = 0.95
"""A generator that could not send this share of its requests at their moments has not made the load that it should."""
OTHERS, CROWDED, STALLED_S = 0.10, 0.05, 0.25
"""Times are nobody's fault while other programs take this share of the processors and a clock beside the sender loses
this share of its time, or while nothing at all runs for so long."""
GROWTH = 0.10
GROWTH_MB = 20.0
"""Memory may grow by the larger of the two while requests of one kind come in."""
SWITCH_S = 10.0
"""Within so long the release before must answer, its loading included."""
_SEED = 20_260_101


@dataclass(frozen=True, slots=True)
class Measured:
    """What a load cost."""

    load: Load
    before: Footprint | None
    after: Footprint | None
    others: float | None = None
    """Share of the machine's processors that other programs took meanwhile; None where the system does not tell."""

    @property
    def disturbed(self) -> str:
        """Why times that are too long may be the machine's and not the model's; empty where they are the model's."""
        load = self.load
        if load.stalled_s >= STALLED_S:
            return f"the machine stood still for {load.stalled_s:.1f} s: it was stopped, or far too busy; run it again"
        if self.others is not None and self.others >= OTHERS and load.late_share >= CROWDED:
            return f"other programs took {self.others:.0%} of the processors meanwhile; run it again on a quiet machine"
        return ""


def bodies(subject: Subject, count: int) -> list[bytes]:
    """Take requests with one row each from the held-out rows, evenly over all of them."""
    rows = subject.requests(subject.rows)[spread(subject.rows.height, count)]
    return [json.dumps(row).encode() for row in json.loads(rows.write_json())]


def put_under_load(subject: Subject, server: Running, *, per_second: float, seconds: float) -> Measured:
    """Send requests with one row at a steady rate, and measure time and memory."""
    from charter.serve.io.footprint import footprint, machine_s, processor_s
    from charter.serve.io.load import steady

    path, sent = predict_path(subject.model.name), bodies(subject, BODIES)
    steady(server.url, path, sent, per_second=per_second * 2, seconds=WARM_UP / per_second / 2)
    before = footprint(server.process.pid)

    def others_s() -> float | None:
        whole, own = machine_s(), processor_s(server.process.pid)
        return None if whole is None or own is None else whole - own - time.process_time()

    then = others_s()
    load = steady(server.url, path, sent, per_second=per_second, seconds=seconds)
    now, cores = others_s(), os.cpu_count() or 1
    others = None if then is None or now is None else max(now - then, 0.0) / max(load.seconds, 1e-9) / cores
    return Measured(load, before, footprint(server.process.pid), others)


def resources(subject: Subject, measured: Measured, *, per_second: float, seconds: float) -> Decision:
    """Hold latency, errors, memory and size against the budget."""
    budget, load = subject.spec.budget, measured.load
    rate = f"{per_second:g} requests/s for {seconds:g} s"
    late = load.offered / max(load.seconds, 1e-9) / per_second
    size = sum(f.stat().st_size for f in subject.model.package.iterdir()) / 1e6
    checks = [
        Check(
            "load", f"{load.offered:,} requests, {late:.0%} of the rate", f"{rate}, >= {ON_TIME:.0%}",
            Verdict.PASS if late >= ON_TIME else Verdict.UNKNOWN,
            note="" if late >= ON_TIME else "the machine was too busy to send them; run it again",
        ),
        _undisturbed(
            Check("errors under load", str(load.errors), "0", _passed(load.errors == 0), note=_statuses(load)),
            measured.disturbed if load.errors == load.statuses[0] else "",
        ),
        _undisturbed(_limited(
            "latency p95", load.quantile_ms(0.95), budget.latency_p95_ms, "ms", "budget.latency_p95_ms",
            f"over HTTP, one row; p50 {load.quantile_ms(0.5):.1f} ms, p99 {load.quantile_ms(0.99):.1f} ms",
        ), measured.disturbed),
        *_memory(measured, budget.memory_mb),
        _limited("package size", size, budget.package_mb, "MB", "budget.package_mb", ""),
    ]  # fmt: skip
    return with_lines(Decision.of("resources", checks), subject.loaded.source)


def _statuses(load: Load) -> str:
    return ", ".join(
        f"{status or 'no answer'}: {count}"
        for status, count in sorted(load.statuses.items())
        if status != 200
    )


def _limited(name: str, value: float, limit: float | None, unit: str, where: str, note: str) -> Check:
    observed = f"{value:.1f} {unit}"
    if value != value:
        return Check(name, "not measured", f"<= {limit:g} {unit}" if limit else "measured", Verdict.UNKNOWN)
    if limit is None:
        return Check(name, observed, "not limited", Verdict.PASS, note=note)
    return Check(name, observed, f"<= {limit:g} {unit}", _passed(value <= limit), where, note)


def _undisturbed(check: Check, disturbed: str) -> Check:
    """Blame no model for time that the machine lost; what holds all the same holds."""
    if check.verdict is not Verdict.FAIL or not disturbed:
        return check
    return replace(check, verdict=Verdict.UNKNOWN, note=f"{disturbed}; {check.note}")


def _memory(measured: Measured, limit: float | None) -> list[Check]:
    before, after = measured.before, measured.after
    if before is None or after is None:
        required = f"<= {limit:g} MB" if limit is not None else "measured"
        verdict = Verdict.UNKNOWN if limit is not None else Verdict.WARN
        return [
            Check("memory", "not measured", required, verdict, note="this system does not tell a process's memory")
        ]  # fmt: skip
    grown, allowed = after.now_mb - before.now_mb, max(GROWTH_MB, GROWTH * before.now_mb)
    note = f"the largest process of the server; {after.total_mb:.0f} MB in all"
    return [
        _limited("memory, peak", after.peak_mb, limit, "MB", "budget.memory_mb", note),
        Check(
            "memory, growth under load", f"{grown:+.1f} MB", f"<= {allowed:.0f} MB", _passed(grown <= allowed),
            note=f"from {before.now_mb:.0f} MB",
        ),
    ]  # fmt: skip


def _passed(met: bool) -> Verdict:
    return Verdict.PASS if met else Verdict.FAIL


# ------------------------------------------------------------------------------------------------------ integration
def contract(subject: Subject, client: Client) -> Check:
    """Ask everything that the OpenAPI document promises, and hold the answers against it."""
    name = subject.model.name
    document = client.ask("GET", "/openapi.json").json
    metadata = client.ask("GET", f"/v2/models/{name}").json
    judge, asked, faults = Contract(document, name), 0, []
    for case in cases(document, name, metadata):
        headers = {"Content-Type": case.content_type} if case.body is not None else {}
        reply = client.ask(case.method, case.path, case.body, headers)
        asked += 1
        if fault := judge.judge(case, reply.status, reply.content_type, reply.body):
            faults.append(f"{case.name}: {fault}")
    observed = f"{len(faults)} of {asked} requests answered otherwise"
    told = "; ".join(faults[:3])
    return Check("contract", observed, "as the OpenAPI document says", _passed(not faults), note=told)


def errors(subject: Subject, client: Client, server: Running, count: int) -> list[Check]:
    """Send what no honest client sends: every answer must be sound, and good requests among them answered."""
    from charter.serve.hostile import hostile
    from charter.serve.io.attack import attack

    name = subject.model.name
    document = client.ask("GET", "/openapi.json").json
    good = goods(document, name, client.ask("GET", f"/v2/models/{name}").json)
    found = attack(server.url, hostile(good, _SEED, count))
    sent = sum(found.outcomes.values())
    faults = "; ".join(f"{request.kind}: {fault}" for request, fault in found.faults[:3])
    alive = server.process.poll() is None and client.ask("GET", "/readyz").status == 200
    return [
        Check(
            "bad requests", f"{len(found.faults)} of {sent:,} answered unsoundly", "none", _passed(not found.faults),
            note=faults or f"seed {_SEED}",
        ),
        Check("after bad requests", "ready" if alive else "not ready", "ready", _passed(alive)),
    ]  # fmt: skip


def way_back(subject: Subject, server: Running, *, per_second: float) -> list[Check]:
    """Roll back in the copy while requests come in: the release before must take over, and nobody may notice.

    The same steps as of `charter rollback`, on copied records, with a server that follows the deployment file of the
    copy. What really serves is not touched.
    """
    from charter.flow.acting import acting
    from charter.flow.rollback import earlier, go_back
    from charter.flow.serving import deployment_file
    from charter.serve.io.load import steady

    copy, loaded = subject.workspace, subject.loaded
    with copy.records(loaded.spec.name, readonly=True) as records:
        deployments = records.deployments()
    try:
        before = _before(subject, deployments, earlier)
    except Refusal as error:
        left = (
            "the fallback is what is left"
            if subject.spec.serve.fallback
            else "no fallback is declared either"
        )
        note = f"{error.message}; {left}"
        return [Check("way back", "none yet", "an earlier release", Verdict.WARN, note=note)]
    _pretend(subject, deployments)
    # While another version is tried beside this one, a way back must be told where it leads.
    tried = deployments[-1].package == subject.package and bool(deployments[-1].traffic)
    to = f"v{before.version}" if tried else None
    path, sent, done = predict_path(subject.model.name), bodies(subject, 20), threading.Event()
    loads: list[Load] = []

    def press() -> None:
        loads.append(
            steady(server.url, path, sent, per_second=per_second, seconds=4 * SWITCH_S, keep=True, until=done.is_set)
        )  # fmt: skip

    thread = threading.Thread(target=press)
    thread.start()
    try:
        began = time.monotonic()
        with acting(copy, loaded.spec.name, None, None, to="go back in a drill") as act:
            go_back(copy, act, loaded.spec.name, to, "drill")
            deployment_file(copy, loaded)
        switched = _wait(server, subject.model.name, f"v{before.version}", began + SWITCH_S)
        took = time.monotonic() - began
        time.sleep(5 / per_second)  # a few more answers, which must all be of the release before
    except CharterError as error:
        return [Check("way back", error.message, f"v{before.version} answers", Verdict.FAIL)]
    finally:
        done.set()
        thread.join()
    (load,) = loads
    versions = [_version(body) for _, body in sorted(load.bodies, key=lambda one: one[0])]
    last = versions[-1] if versions else None
    return [
        Check(
            "way back", f"v{before.version} answers after {took:.1f} s" if switched else f"{last} still answers",
            f"v{before.version} answers within {SWITCH_S:g} s", _passed(switched and last == f"v{before.version}"),
            note="a drill on a copy; what serves was not touched",
        ),
        Check(
            "requests meanwhile", f"{load.errors} of {load.offered} failed", "none", _passed(load.errors == 0),
            note=_statuses(load),
        ),
        _trail(subject),
    ]  # fmt: skip


def _before(
    subject: Subject,
    deployments: Sequence[Deployment],
    earlier: Callable[[Sequence[Deployment], str, str | None], Deployment],
) -> Deployment:
    """Which release a rollback goes to when this version serves."""
    if deployments and deployments[-1].package != subject.package:
        return deployments[-1]
    return earlier(deployments, subject.loaded.spec.name, None)


def _pretend(subject: Subject, deployments: Sequence[Deployment]) -> None:
    """Record in the copy that the version serves, as a release would."""
    from charter.govern.io.trail import Trail
    from charter.registry.types import Deployment

    if deployments[-1].package == subject.package:
        return
    copy, version = subject.workspace, subject.version
    now, actor = copy.clock.now(), copy.settings.actor
    with (
        copy.records(subject.loaded.spec.name) as records,
        Trail(records, copy.anchor_file).recording(
            at=now, actor=actor, action="drill.released", subject=version.name
        ) as change,
    ):
        change.add_deployment(
            Deployment(version.number, subject.package, actor, now, {"package": subject.package})
        )


def _wait(server: Running, name: str, version: str, until: float) -> bool:
    from charter.serve.io.client import Client

    with Client(server.url) as client:
        while time.monotonic() < until:
            said = client.ask("GET", "/readyz").json
            if isinstance(said, Mapping) and said["models"].get(name) == version:
                return True
            time.sleep(0.05)
    return False


def _version(body: bytes) -> str | None:
    found = json.loads(body).get("version")
    return str(found) if found is not None else None


def _trail(subject: Subject) -> Check:
    from charter.govern.io.trail import Trail

    copy = subject.workspace
    with copy.records(subject.loaded.spec.name, readonly=True) as records:
        faults = [f for f in Trail(records, copy.anchor_file).verify() if f.verdict is Verdict.FAIL]
    observed = "whole" if not faults else faults[0].message
    return Check("audit trail after the way back", observed, "whole", _passed(not faults))
