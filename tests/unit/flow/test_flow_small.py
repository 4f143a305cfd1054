"""The lock, versions as people write them, starting from a blueprint, comparing environments."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from datetime import UTC, datetime

import polars as pl
import pytest

from charter.cli.main import _run
from charter.core.clock import ManualClock
from charter.core.decision import Decision, Verdict
from charter.core.errors import Busy, UsageError
from charter.core.nearest import did_you_mean
from charter.core.text import one_line
from charter.flow.init import create
from charter.flow.lock import hold
from charter.flow.measure import of_versions
from charter.flow.reproduce import Reproduction, environment_changes
from charter.flow.score_request import place, refuse_same
from charter.flow.verify import carried_out
from charter.flow.views import version_number
from charter.flow.workspace import Workspace

CLOCK = ManualClock(datetime(2026, 3, 1, tzinfo=UTC))


def holding(path, **how):
    return hold(path, doing="testing", actor="eva", clock=CLOCK, **how)


def test_the_second_is_told_who_holds_it(tmp_path):
    path = tmp_path / "state" / "lock"
    with (
        holding(path),
        pytest.raises(Busy, match=r"eva on .* \(process \d+, `testing`, since 2026-03-01T00:00:00.000000Z\)"),
        holding(path),
    ):
        pass
    with holding(path):
        pass


def test_a_lock_whose_holder_has_not_written_its_name_yet(tmp_path):
    path = tmp_path / "lock"
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Busy, match="another process"), holding(path):
            pass


@pytest.mark.parametrize(
    ("can_wait", "said"), [(True, "or give `--wait 600`"), (False, "and run this again")]
)
def test_only_a_command_that_can_wait_names_how(tmp_path, can_wait, said):
    with (
        holding(tmp_path / "lock"),
        pytest.raises(Busy, match=said),
        holding(tmp_path / "lock", can_wait=can_wait),
    ):
        pass


def test_waiting_for_the_holder(tmp_path):
    path = tmp_path / "lock"
    held, order = threading.Event(), []

    def first() -> None:
        with holding(path):
            held.set()
            time.sleep(0.3)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    held.wait()
    with holding(path, wait_seconds=10):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_the_lock_is_free_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), holding(tmp_path / "lock"):
        _ = 1 / 0
    with holding(tmp_path / "lock"):
        pass


@pytest.mark.parametrize(("text", "number"), [("v3", 3), ("12", 12)])
def test_versions_as_people_write_them(text, number):
    assert version_number(text) == number


@pytest.mark.parametrize("text", ["", "v0", "v-1", "three", "v1.0", "v" + "9" * 40, "٣"])
def test_what_is_no_version(text):
    with pytest.raises(UsageError, match="not a version"):
        version_number(text)


def test_scores_are_not_written_over_their_source(tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("a\n1\n")
    (tmp_path / "link.csv").symlink_to(rows)
    os.link(rows, tmp_path / "other.csv")
    for text in ("rows.csv", "./x/../rows.csv", "link.csv", "other.csv"):
        with pytest.raises(UsageError, match="is the source"):
            refuse_same(place(str(rows), target=False), place(f"{tmp_path}/{text}", target=True))
    refuse_same(place(str(rows), target=False), place(f"{tmp_path}/new.csv", target=True))
    table = "sqlite:///a.db#t"
    with pytest.raises(UsageError, match="is the source"):
        refuse_same(place(table, target=False), place(table, target=True))
    refuse_same(place(table, target=False), place("sqlite:///a.db#u", target=True))


@pytest.mark.parametrize("name", ["customer-churn", "credit-risk"])
def test_a_blueprint_becomes_a_workspace(name, tmp_path):
    written = create(tmp_path / "new", name)
    assert "model.yaml" in written
    assert Workspace.at(tmp_path / "new").load().spec.name == name
    (tmp_path / "new" / "model.yaml").write_text("mine")
    with pytest.raises(UsageError, match="already holds"):
        create(tmp_path / "new", name)
    assert (tmp_path / "new" / "model.yaml").read_text() == "mine"


def test_an_unknown_blueprint_names_those_there_are(tmp_path):
    with pytest.raises(UsageError, match="customer-chrn"):
        create(tmp_path / "new", "customer-chrn")
    assert not (tmp_path / "new").exists()


def test_a_folder_without_a_specification(tmp_path):
    with pytest.raises(UsageError, match="no specification"):
        Workspace.at(tmp_path)


def manifest(code="0.1.0+aa", python="3.11.7", **distributions):
    return {
        "code_version": code,
        "environment": {"python": python, "machine": "x86_64", "distributions": distributions},
    }


def test_every_change_of_the_environment_is_named():
    then = manifest(numpy="2.1.0", polars="1.0")
    assert environment_changes(then, then) == {}
    now = manifest(code="0.1.0+bb", python="3.12.1", numpy="2.2.0", new="1")
    assert environment_changes(then, now) == {
        "charter (code)": ("0.1.0+aa", "0.1.0+bb"),
        "new": ("absent", "1"),
        "numpy": ("2.1.0", "2.2.0"),
        "polars": ("1.0", "absent"),
        "python": ("3.11.7", "3.12.1"),
    }


def test_a_reproduction_says_what_differs():
    same = Reproduction("v1", "package", "a" * 64, "a" * 64, {}, "its sources", {})
    assert same.identical
    assert "identical, byte for byte" in same.lines()[0]
    differs = Reproduction(
        "v1", "package", "a" * 64, "b" * 64, {"model.onnx": "changed"}, "its sources", {"numpy": ("1", "2")}
    )
    assert not differs.identical
    assert [line.strip() for line in differs.lines()[1:]] == ["model.onnx: changed", "numpy 1 then, 2 now"]


@pytest.mark.parametrize("raised", [KeyError("warnings"), TypeError("NoneType"), ValueError("no number")])
def test_a_malformed_answer_fails_a_check_and_ends_no_verification(raised: Exception):
    def work() -> Decision:
        raise raised

    decision = carried_out("explanation", work)
    assert decision.verdict is Verdict.FAIL
    assert "an answer is malformed" in decision.checks[0].observed


def test_answers_of_versions_that_are_none_are_left_out_of_the_monitor_and_said():
    logged = pl.DataFrame({"version": ["v1", "v1/../../x", "v2", "v9", None]})
    known, left_out = of_versions(logged, ["v1", "v2"])
    assert known["version"].to_list() == ["v1", "v2"]
    assert left_out.startswith("3 answers are left out, of versions that are not recorded")
    assert "'v1/../../x'" in left_out
    assert of_versions(known, ["v1", "v2"])[1] == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x" * 3_000_000, "is 3,000,000 characters long"),
        ("seen\n  [x] 1. Rolled back", "holds '\\n' at character 5"),
        ("\x1b[2Jgone", "holds '\\x1b' at character 1"),
        ("a\u202etxt", "holds '\\u202e' at character 2"),
        ("bytes \udc80", "holds '\\udc80' at character 7"),
    ],
)
def test_what_a_person_writes_is_one_line_of_plain_text(text, why):
    with pytest.raises(UsageError) as said:
        one_line(text, "the title")
    assert why in said.value.message
    assert one_line(" Zoë Muñoz 東京 👩‍💻 ", "the title") == "Zoë Muñoz 東京 👩‍💻"


def test_an_argument_that_is_no_text_is_refused(capsys):
    assert _run(["history", "--in", "\udc80"]) == 2
    assert "is not UTF-8" in capsys.readouterr().err


def test_what_a_file_is_called_moves_no_cursor(capsys, tmp_path):
    assert _run(["score", f"{tmp_path}/\x1b[2J.csv", "--to", "a.parquet", "--in", f"{tmp_path}/\x1b[2J"]) == 2
    told = capsys.readouterr().err
    assert "\x1b" not in told
    assert r"\x1b[2J" in told
    assert "\x1b" not in did_you_mean("amount", ["\x1b[2J", "b"])
