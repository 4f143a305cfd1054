"""What is told and when: groups, silences, reminders, and delivery that neither loses nor doubles a notice."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from charter.core.errors import UsageError
from charter.govern.audit import append
from charter.monitor.alerts import Rule, Turn, Window, judge
from charter.monitor.io.alerts import deliver, keep, notices, waiting
from charter.monitor.lifecycle import ACKNOWLEDGED, RESOLVED, SILENCED, silences, stand
from charter.monitor.notices import Notice, compose, muted
from charter.registry.types import AuditEvent
from charter.spec.alerts import AlertRule
from charter.spec.types import AlertSpec

START = datetime(2026, 1, 5)  # noqa: DTZ001 - frames hold naive UTC
NOW = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def rule(text: str, name: str, **more: object) -> Rule:
    return Rule(name, AlertRule.parse(text), AlertSpec(when=text, **more), ("monitor", "alerts", name))


def weeks(*recall: float) -> list[Window]:
    week = timedelta(weeks=1)
    return [
        Window("v1", START + i * week, START + (i + 1) * week, {"recall": v}) for i, v in enumerate(recall)
    ]


def said(*entries: tuple[str, str, dict]) -> list[AuditEvent]:
    found: list[AuditEvent] = []
    for action, subject, detail in entries:
        last = found[-1] if found else None
        told = {"model": "loans", **detail}
        found.append(append(last, at=NOW, actor="eva", action=action, subject=subject, detail=told))
    return found


MISSES = rule("recall < 0.8", "misses", severity="critical", group="quality")
LOW = rule("recall < 0.75", "low", group="quality")
ALONE = rule("recall < 0.7", "alone")


def tell(windows, rules, told=(), trail=(), *, now=NOW, muted_before=(), **more):
    alerts, events = judge(windows, rules)
    quiet = silences(trail, "loans", now=now)
    silent = {*muted_before, *muted(events, told, quiet)}
    found = compose(
        events,
        told,
        stand(alerts, trail, "loans", now=now),
        model="loans",
        now=now,
        quiet=quiet,
        muted=silent,
        **more,
    )
    return found, silent


def test_turns_of_a_group_are_told_in_one_notice_and_none_twice():
    windows = weeks(0.9, 0.6)
    told, _ = tell(windows, [MISSES, LOW, ALONE])
    assert [(n.title, n.severity) for n in told] == [
        ("loans v1: alone fired", "warning"),
        ("loans: alerts of quality: 2 fired", "critical"),
    ]
    assert tell(windows, [MISSES, LOW, ALONE], told)[0] == ()
    over, _ = tell(weeks(0.9, 0.6, 0.78, 0.78), [MISSES, LOW, ALONE], told)
    assert [n.title for n in over] == ["loans v1: alone resolved", "loans v1: low resolved"]
    assert Notice.from_json(json.loads(json.dumps(told[1].to_json()))) == told[1]


def test_a_proposal_stands_in_the_notice_that_tells_the_beginning():
    alerts, _ = judge(weeks(0.6), [ALONE])
    told, _ = tell(weeks(0.6), [ALONE], proposals={alerts[0].event: "proposed: `charter retrain`"})
    assert told[0].body.endswith("proposed: `charter retrain`")


def test_what_is_silent_is_told_afterwards_if_it_is_still_on():
    trail = said((SILENCED, "quality", {"until": "2026-03-02T00:00:00Z", "reason": "known"}))
    told, silent = tell(weeks(0.6), [MISSES, ALONE], trail=trail)
    assert [n.title for n in told] == ["loans v1: alone fired"]
    assert len(silent) == 1
    later = NOW + timedelta(days=2)
    assert [
        n.title for n in tell(weeks(0.6), [MISSES, ALONE], told, trail, now=later, muted_before=silent)[0]
    ] == ["loans v1: misses fired"]
    passed, _ = tell(weeks(0.6, 0.9, 0.9), [MISSES], told, trail, now=later, muted_before=silent)
    assert passed == ()


def test_a_silence_is_ended_by_its_last_word():
    trail = said(
        (SILENCED, "misses", {"until": "2026-03-02T00:00:00Z"}),
        (SILENCED, "misses", {"until": "2026-03-01T00:00:00Z"}),
    )
    assert silences(trail, "loans", now=NOW) == ()
    assert silences(trail[:1], "other", now=NOW) == ()


def test_a_loud_alert_is_told_again_until_somebody_has_seen_it():
    windows = weeks(0.6)
    alerts, _ = judge(windows, [ALONE])
    told = list(tell(windows, [ALONE], repeat=HOUR)[0])
    assert tell(windows, [ALONE], told, repeat=HOUR, now=NOW + HOUR / 2)[0] == ()
    for hours in (1, 2):
        (again,), _ = tell(windows, [ALONE], told, repeat=HOUR, now=NOW + hours * HOUR)
        assert (again.title, again.again) == ("loans v1: alone is still on", hours)
        told.append(again)
    assert len({n.id for n in told}) == 3
    trail = said((ACKNOWLEDGED, "alone", {"events": [alerts[0].event]}))
    assert tell(windows, [ALONE], told, trail, repeat=HOUR, now=NOW + 9 * HOUR)[0] == ()
    (standing,) = stand(alerts, trail, "loans", now=NOW)
    assert (standing.words, standing.is_on, standing.is_loud) == ("on, seen by eva", True, False)


def test_what_was_said_of_one_run_does_not_hold_for_the_next():
    first, _ = judge(weeks(0.6), [ALONE])
    trail = said((RESOLVED, "alone", {"events": [first[0].event], "reason": "a test"}))
    assert stand(first, trail, "loans", now=NOW)[0].words == "resolved by eva"
    second, events = judge(weeks(0.6, 0.9, 0.9, 0.6), [ALONE])
    assert stand(second, trail, "loans", now=NOW)[0].words == "on"
    assert [e.turn for e in events if e.began == first[0].event] == [Turn.FIRED, Turn.RESOLVED]


def test_how_long_it_must_be_quiet_is_declared():
    patient = rule("recall < 0.8", "patient", over_after=3)
    hasty = rule("recall < 0.8", "hasty", over_after=1)
    alerts, events = judge(weeks(0.6, 0.9, 0.9), [patient, hasty])
    assert [(a.rule.name, a.firing) for a in alerts] == [("patient", True), ("hasty", False)]
    assert [(e.name, e.turn.value) for e in events] == [
        ("hasty", "fired"), ("patient", "fired"), ("hasty", "resolved")
    ]  # fmt: skip
    assert judge(weeks(0.6, 0.9, 0.6), [patient])[0][0].since == START


class Sink(ThreadingHTTPServer):
    """Takes notices, or refuses the next few of them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.taken: list[tuple[dict, bool]] = []
        self.asked = 0
        self.refuse = 0
        self.moved = ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Sink

    def do_POST(self) -> None:
        if self.server.moved:
            self.send_response(302)
            self.send_header("Location", self.server.moved)
            self.end_headers()
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        refused = self.server.refuse > 0
        self.server.refuse -= refused
        if not refused:
            expected = hmac.new(b"shared", body, hashlib.sha256).hexdigest()
            signed = self.headers.get("X-Charter-Signature") == f"sha256={expected}"
            self.server.taken.append((json.loads(body), signed))
        self.send_response(503 if refused else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    monkeypatch.setenv("CHARTER_WEBHOOK_SECRET", "shared")
    server = Sink()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    told, _ = tell(weeks(0.9, 0.6), [MISSES, LOW, ALONE])
    first, second = sorted(told, key=lambda n: n.id)
    keep(tmp_path / "notices", [replace(second, at=NOW + HOUR), first])
    assert notices(tmp_path / "notices")[0] == first
    return tmp_path / "notices"


def test_a_webhook_gets_each_notice_signed_and_once(outbox, sink):
    assert deliver(outbox, [sink.address], wait_seconds=0) == 0
    assert deliver(outbox, [sink.address], wait_seconds=0) == 0
    assert [(body["id"], signed) for body, signed in sink.taken] == [(n.id, True) for n in notices(outbox)]


def test_what_is_refused_is_tried_again_in_the_pass_and_by_the_next(outbox, sink, tmp_path):
    places = [sink.address, f"file:{tmp_path / 'spool'}"]
    sink.refuse = 2
    assert deliver(outbox, places, wait_seconds=0) == 0
    assert (sink.asked, len(sink.taken)) == (4, 2)
    keep(outbox, [replace(notices(outbox)[0], id="third", at=NOW + 2 * HOUR)])
    keep(outbox, [replace(notices(outbox)[0], id="fourth", at=NOW + 3 * HOUR)])
    sink.refuse = 3
    assert deliver(outbox, places, wait_seconds=0) == 2
    assert sink.asked == 7, "an address that does not answer is left alone for the rest of the pass"
    assert [(w.notice.id, w.address) for w in waiting(outbox, places)] == [
        ("third", sink.address),
        ("fourth", sink.address),
    ]
    assert deliver(outbox, places, wait_seconds=0) == 0
    assert [body["id"] for body, _ in sink.taken[2:]] == ["third", "fourth"]
    assert len(list((tmp_path / "spool").iterdir())) == 4


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")  # Apprise imports it
def test_other_addresses_are_those_of_apprise(outbox, sink):
    pytest.importorskip("apprise")
    assert deliver(outbox, [f"json://127.0.0.1:{sink.server_port}/"], wait_seconds=0) == 0
    assert sorted(body["title"] for body, _ in sink.taken) == [
        "loans v1: alone fired",
        "loans: alerts of quality: 2 fired",
    ]


def test_an_address_that_cannot_be_used_is_told_after_all_others_were_served(outbox, tmp_path):
    with pytest.raises(UsageError, match="CHARTER_NO_SUCH"):
        deliver(outbox, ["https://${CHARTER_NO_SUCH}/x", f"file:{tmp_path / 'spool'}"], wait_seconds=0)
    assert len(list((tmp_path / "spool").iterdir())) == 2


def test_an_address_that_is_not_there_delays_nobody_else(outbox, tmp_path):
    (tmp_path / "no-folder").write_bytes(b"")
    gone = ["http://127.0.0.1:9/hook", f"file:{tmp_path / 'no-folder'}"]
    assert deliver(outbox, [*gone, f"file:{tmp_path / 'spool'}"], wait_seconds=0) == 4
    assert len(list((tmp_path / "spool").iterdir())) == 2


def test_a_webhook_that_sends_elsewhere_has_not_taken_the_notice(outbox, sink):
    other = Sink()
    sink.moved = other.address
    assert deliver(outbox, [sink.address], wait_seconds=0) == 2
    other.server_close()
    assert other.asked == 0


@pytest.mark.parametrize("odd", ["http://127.0.0.1:abc/x", "http://h h/", "http://[::1"])
def test_an_odd_address_delays_nobody_else(outbox, tmp_path, odd):
    assert deliver(outbox, [odd, f"file:{tmp_path / 'spool'}"], wait_seconds=0) == 2
    assert len(list((tmp_path / "spool").iterdir())) == 2


def test_a_webhook_whose_answer_drips_holds_nobody(outbox, tmp_path, monkeypatch):
    from charter.monitor.io import alerts

    monkeypatch.setattr(alerts, "_DEADLINE_SECONDS", 0.2)
    monkeypatch.setattr(alerts, "_ATTEMPTS", 1)
    over = threading.Event()

    def drip(server: socket.socket) -> None:
        peer, _ = server.accept()
        with peer:
            peer.sendall(b"HTTP/1.1 200 OK\r\n")
            while not over.wait(0.05):
                peer.sendall(b"X-Drip: x\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        dripping = threading.Thread(target=drip, args=(server,))
        dripping.start()
        slow = f"http://127.0.0.1:{server.getsockname()[1]}/"
        try:
            assert deliver(outbox, [slow, f"file:{tmp_path / 'spool'}"], wait_seconds=0) == 2
        finally:
            over.set()
            dripping.join()
    assert len(list((tmp_path / "spool").iterdir())) == 2


def test_a_process_that_dies_while_it_sends_sends_the_same_again(outbox, sink, monkeypatch):
    from charter.monitor.io import alerts

    class Died(BaseException):
        pass

    def die(*_: object) -> None:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(alerts, "write_atomic", die)
        with pytest.raises(Died):
            deliver(outbox, [sink.address], wait_seconds=0)
    assert deliver(outbox, [sink.address], wait_seconds=0) == 0
    ids = [body["id"] for body, _ in sink.taken]
    assert (len(ids), len(set(ids))) == (3, 2)
