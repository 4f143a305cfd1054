"""Passes by the clock: one part that breaks stops no other, and lines for cron and systemd say what was asked."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from charter.core.errors import Busy, UsageError
from charter.core.settings import Settings
from charter.flow import schedule
from charter.flow.schedule import cron_line, unit_files
from charter.flow.workspace import Workspace


@pytest.mark.parametrize(
    ("every_s", "when"),
    [
        (1, "*/1 * * * *"),
        (300, "*/5 * * * *"),
        (7 * 60, "*/6 * * * *"),
        (59 * 60, "*/30 * * * *"),
        (3600, "0 * * * *"),
        (5 * 3600, "0 */4 * * *"),
        (86_400, "0 0 * * *"),
        (7 * 86_400, "0 0 * * *"),
    ],
)
def test_steps_of_cron_are_even(every_s, when):
    assert cron_line(Path("/m"), "charter", every_s) == f"{when} charter schedule --once --in /m"


def test_a_folder_with_blanks_and_the_name_of_who_acts_stand_in_every_line():
    folder = Path("/srv/my 5% model")
    assert cron_line(folder, "charter", 60, "ann").endswith(r"--in '/srv/my 5\% model' --as ann")
    units = unit_files(folder, "charter", 60, "ann")
    assert "ExecStart=charter schedule --once --in '/srv/my 5%% model' --as ann\n" in units
    assert "WorkingDirectory=/srv/my 5%% model\n" in units
    assert "charter-my-5--model.timer" in units


@pytest.mark.parametrize("broken", [OSError("disk full"), Busy("held")])
def test_a_part_that_breaks_leaves_the_others_their_turn(tmp_path, monkeypatch, broken):
    def fails(*_given: object) -> str:
        raise broken

    text = (files("charter.blueprints") / "credit_risk" / "model.yaml").read_text()
    (tmp_path / "model.yaml").write_text(text)
    workspace = Workspace.at(tmp_path, Settings.from_environment({"CHARTER_HOME": str(tmp_path)}))
    monkeypatch.setattr(schedule, "_rollout", fails)
    monkeypatch.setattr(schedule, "_monitor", lambda *_given: "done")
    monkeypatch.setattr(schedule, "_released", lambda _workspace, _loaded: True)
    found = {t.name: (t.said, t.failed) for t in schedule.run_pass(workspace)}
    assert found["monitor"] == ("done", False)
    assert found["rollout"][1]
    assert str(broken) in found["rollout"][0]


@pytest.mark.parametrize("write", [unit_files, cron_line])
def test_a_folder_with_a_line_of_its_own_is_refused_and_systemd_expands_nothing(write):
    with pytest.raises(UsageError, match="kept as one line"):
        write(Path("/srv/x\n* * * * * evil"), "charter", 300)
    assert ("/srv/$$HOME'" in write(Path("/srv/$HOME"), "charter", 300)) is (write is unit_files)
