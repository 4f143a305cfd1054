"""Batch scoring as a person runs it: from files and tables to files and tables, through kills and wrong inputs."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import e2e_dying
import e2e_score_dying
import polars as pl
import pytest
from e2e_models import accounts, charter, done

from charter.core.errors import CharterError
from charter.flow.score import score
from charter.flow.score_request import ScoreRequest, place, rejection_limit, which_version
from charter.flow.workspace import Workspace
from charter.serve import batch
from charter.serve.io import batch_pool


@pytest.fixture
def source(loans: Path) -> Path:
    """Three hundred accounts, three of which break the contract."""
    frame = (
        accounts(300, seed=8)
        .drop("outcome")
        .with_columns(late=pl.when(pl.col("account") % 100 == 7).then(12).otherwise("late"))
    )
    frame.write_parquet(loans / "new.parquet")
    frame.write_csv(loans / "new.csv")
    return loans / "new.parquet"


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "CHUNK_ROWS", 40)


def run(folder: Path, *arguments: str | Path) -> Any:
    return done("score", *arguments, "--in", folder, "--json").json


def expected(folder: Path, source: Path) -> list[dict[str, Any]]:
    """What `charter predict` says of each row that keeps the contract."""
    frame = pl.read_parquet(source).filter(pl.col("late") <= 9)
    asked = json.loads(frame.drop("account", "group").write_json())
    answers = done("predict", "--in", folder, "--json", json.dumps(asked)).json
    return [
        {"account": account, **{k: a[k] for k in ("score", "decision", "band", "warnings")}}
        for account, a in zip(frame["account"], answers, strict=True)
    ]


def tidy(folder: Path) -> None:
    """Nothing of the work is left."""
    assert not list(folder.glob(".*.scoring"))
    assert not list(folder.glob(".charter/scoring/.*"))


# ------------------------------------------------------------------------------------------- sources, targets
def test_files_get_the_servers_answers_and_a_record(loans: Path, source: Path, small_chunks: None) -> None:
    to = loans / "scores.parquet"
    record = run(loans, source, "--to", to, "--bands", "--warnings")
    found = pl.read_parquet(to)
    assert found.to_dicts() == expected(loans, source)
    rows = record["rows"]
    assert (rows["read"], rows["scored"], rows["rejected"], record["chunks"]) == (300, 297, 3, 8)
    assert rows["rejections"] == {"late: at most 9": 3}
    assert rows["decisions"] == {
        r["decision"]: r["count"] for r in found["decision"].value_counts().to_dicts()
    }
    assert sum(rows["bands"].values()) == 297
    beside = json.loads((loans / "scores.parquet.run.json").read_text())
    assert beside == {k: v for k, v in record.items() if k not in ("record", "resumed_chunks")}
    rejects = pl.read_parquet(loans / "scores.parquet.rejects.parquet")
    assert rejects.to_dicts() == [
        {"row": n, "account": n, "reasons": ["late = 12: must be at most 9"]} for n in (7, 107, 207)
    ]
    tidy(loans)
    with Workspace.at(loans).records("small-loans", readonly=True) as records:
        (event,) = [e for e in records.events() if e.action == "score.done"]
        (kept,) = records.results("score")
    assert event.detail["package"] == record["package"]
    assert (event.detail["scored"], kept.summary["rows"]["scored"]) == (297, 297)
    assert charter("audit", "verify", "--in", loans).code == 0


def test_every_source_and_target_holds_the_same(loans: Path, source: Path, small_chunks: None) -> None:
    wanted = expected(loans, source)
    run(loans, loans / "new.csv", "--to", loans / "a.csv", "--bands", "--keep", "region")
    found = pl.read_csv(loans / "a.csv")
    assert found.drop("region").to_dicts() == [
        {k: r[k] for k in ("account", "score", "decision", "band")} for r in wanted
    ]
    (loans / "many").mkdir()
    whole = pl.read_parquet(source)
    whole[:100].write_parquet(loans / "many" / "1.parquet")
    whole[100:].write_parquet(loans / "many" / "2.parquet")
    run(loans, loans / "many", "--to", loans / "parts/", "--bands", "--warnings")
    assert len(list((loans / "parts").iterdir())) == 8
    assert pl.read_parquet(loans / "parts").to_dicts() == wanted
    database = f"sqlite:///{loans / 'a.db'}"
    with sqlite3.connect(loans / "a.db") as connection:
        names = ", ".join(f'"{name}"' for name in whole.columns)
        connection.execute(f"CREATE TABLE accounts ({names})")
        marks = ", ".join("?" * whole.width)
        connection.executemany(f"INSERT INTO accounts VALUES ({marks})", whole.rows())
    connection.close()
    for _ in range(2):  # the second time replaces what the first wrote
        record = run(loans, f"{database}#accounts", "--to", f"{database}#scores", "--bands")
    query = "SELECT * FROM accounts WHERE late > 3"
    few = run(loans, database, "--query", query, "--to", loans / "few.parquet")
    assert few["rows"]["read"] == whole.filter(pl.col("late") > 3).height
    with sqlite3.connect(loans / "a.db") as connection:
        rows = connection.execute(
            "SELECT account, score, decision, band, run_id FROM scores ORDER BY account"
        ).fetchall()
    connection.close()
    assert rows == [(r["account"], r["score"], r["decision"], r["band"], record["run"]) for r in wanted]
    tidy(loans)


def test_ranking_is_the_order_of_all_scores(loans: Path, source: Path, small_chunks: None) -> None:
    run(loans, source, "--to", loans / "r.parquet", "--rank")
    found = pl.read_parquet(loans / "r.parquet")
    plain = pl.DataFrame(expected(loans, source))
    wanted = plain.sort("score", descending=True, maintain_order=True)
    assert found["rank"].to_list() == list(range(1, 298))
    assert found.select("account", "score").equals(wanted.select("account", "score"))


def test_a_source_without_its_key_gets_row_numbers(loans: Path, source: Path, small_chunks: None) -> None:
    pl.read_parquet(source).drop("account").write_csv(loans / "nameless.csv")
    run(loans, loans / "nameless.csv", "--to", loans / "n.parquet", "--rank")
    found = pl.read_parquet(loans / "n.parquet").sort("row")
    assert found["row"].to_list() == [r["account"] for r in expected(loans, source)]
    rejects = pl.read_parquet(loans / "n.parquet.rejects.parquet")
    assert rejects["row"].to_list() == [7, 107, 207]


def test_entities_are_looked_up_in_the_snapshot(clients: Path) -> None:
    pl.DataFrame({"client": list(range(160))}).write_csv(clients / "who.csv")
    record = run(
        clients,
        clients / "who.csv",
        "--to",
        clients / "w.csv",
        "--as-of",
        "2025-09-01",
        "--explain",
        "--warnings",
    )
    found = pl.read_csv(clients / "w.csv", infer_schema=False)
    asked = [{"client": n, "as_of": "2025-09-01"} for n in range(160)]
    answers = done("predict", "--in", clients, "--explain", "--json", json.dumps(asked)).json
    assert [float(s) for s in found["score"]] == [a["score"] for a in answers]
    assert found["reasons"].to_list() == ["; ".join(r["text"] for r in a["reasons"]) for a in answers]
    assert [w or "" for w in found["warnings"]] == ["; ".join(a["warnings"]) for a in answers]
    assert record["as_of"] == "2025-09-01T00:00:00"


def test_processes_agree_with_one(loans: Path, source: Path, small_chunks: None) -> None:
    run(loans, source, "--to", loans / "one.parquet", "--workers", "1")
    run(loans, source, "--to", loans / "two.parquet", "--workers", "2")
    assert (loans / "one.parquet").read_bytes() == (loans / "two.parquet").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for under /proc")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_a_ray_cluster_loses_a_worker_and_its_driver_and_no_row(
    loans: Path, source: Path, small_chunks: None
) -> None:
    """A cluster of two processes on this machine, that ends with whoever started it, however that ended."""
    run(loans, source, "--to", loans / "one.parquet", "--workers", "1", "--rank")
    arguments = [
        str(source),
        "--to",
        str(loans / "ray.parquet"),
        "--engine",
        "ray",
        "--workers",
        "2",
        "--rank",
    ]
    program = (
        "import sys; from charter.serve import batch; batch.CHUNK_ROWS = 40; "
        f"from charter.cli.main import _run; sys.exit(_run(['score', *{arguments}, '--in', {str(loans)!r}]))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL) as driver:
        until(lambda: driver.poll() is not None or RAY_TASK in ray_processes(driver.pid).values())
        begun = ray_processes(driver.pid)
        driver.kill()
    assert RAY_TASK in begun.values()
    # Two agents notice only after a minute that there is nobody left to tell of the end; they are not waited for.
    agents = {pid for pid, title in begun.items() if title in ("ray::DashboardAgent", "ray::RuntimeEnvAgent")}
    until(lambda: not (begun.keys() - agents) & ray_processes(None).keys())
    for pid in agents & ray_processes(None).keys():
        os.kill(pid, signal.SIGKILL)

    seen: dict[int, str] = {}
    killed: list[int] = []

    def kill_the_first_at_work() -> bool:
        seen.update({pid: title for pid, title in ray_processes(os.getpid()).items() if title == RAY_TASK})
        if seen and not killed:
            killed.append(next(iter(seen)))
            os.kill(killed[0], signal.SIGKILL)  # it is still importing: its chunk is not done
        return ended.is_set()

    ended = threading.Event()
    killer = threading.Thread(target=until, args=(kill_the_first_at_work,))
    killer.start()
    record = run(loans, *arguments)
    ended.set()
    killer.join()
    assert record["engine"] == "ray"
    assert killed
    assert len(seen) >= 2
    assert (loans / "one.parquet").read_bytes() == (loans / "ray.parquet").read_bytes()
    until(lambda: not ray_processes(os.getpid()))
    tidy(loans)


RAY_TASK = "ray::answer"


def ray_processes(root: int | None) -> dict[int, str]:
    """Processes of Ray below another one (None: on this machine), with the first word of their command."""
    parents, titles = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            titles[int(folder.name)] = (folder / "cmdline").read_text(errors="replace").partition("\0")[0]

    def below(pid: int) -> bool:
        while pid in parents and pid != root:
            pid = parents[pid]
        return root is None or pid == root

    # A process that has ended and is not yet waited for has no command.
    return {
        pid: title
        for pid, title in titles.items()
        if "ray" in Path(title).name and pid != root and below(pid)
    }


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# ------------------------------------------------------------------------------------------------------ kills
class Dying(e2e_dying.Dying):
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, e2e_score_dying.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="module")
def dying(_runs: None) -> Iterator[Dying]:
    process = Dying()
    yield process
    process.close()


@pytest.mark.parametrize("options", [("--rank", "--bands"), ("--explain",)])
def test_a_killed_job_goes_on_without_a_row_twice_or_missing(
    dying: Dying, loans: Path, source: Path, options: tuple[str, ...]
) -> None:
    whole = dying.apply(loans, arguments=[str(source), "--to", str(loans / "whole.parquet"), *options])
    assert whole["code"] == 0, whole["err"]
    chosen = random.Random(len(options))
    to = loans / "torn.parquet"
    deaths = 0
    arguments = [str(source), "--to", str(to), *options]
    for die_at in sorted(chosen.sample(range(1, whole["points"]), 8 if "--rank" in options else 3)):
        # Dies, goes on and dies again, and goes on until it is done.
        for point in (die_at, chosen.randrange(1, 40), None):
            torn = dying.apply(loans, arguments=arguments, die_at=point)
            if torn["code"] is not None:
                break
            deaths += 1
            assert torn["signal"] == signal.SIGKILL
            if to.exists():
                assert to.read_bytes() == (loans / "whole.parquet").read_bytes()
        assert torn["code"] == 0, torn["err"]
        assert to.read_bytes() == (loans / "whole.parquet").read_bytes()
        assert (
            Path(f"{to}.rejects.parquet").read_bytes()
            == (loans / "whole.parquet.rejects.parquet").read_bytes()
        )
        record = json.loads(Path(f"{to}.run.json").read_text())
        assert record["rows"] == json.loads(whole["out"])["rows"]
        tidy(loans)
        for path in loans.glob("torn.parquet*"):
            path.unlink()
    assert deaths >= 3
    assert charter("audit", "verify", "--in", loans).code == 0


def test_a_killed_job_takes_its_processes_along(loans: Path, source: Path) -> None:
    many = pl.concat([pl.read_parquet(source)] * 3000)
    many.write_parquet(loans / "many.parquet")
    to = loans / "m.parquet"
    command = [
        sys.executable,
        "-m",
        "charter.cli.main",
        "score",
        str(loans / "many.parquet"),
        "--to",
        str(to),
    ]
    program = "import sys; from charter.cli.main import main; sys.argv[0] = 'charter'; main()"
    command = [sys.executable, "-c", program, "score", str(loans / "many.parquet"), "--to", str(to)]
    command += ["--in", str(loans), "--workers", "2"]
    work = loans / ".m.parquet.scoring"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while not list(work.glob("chunks/0*.json")) and time.monotonic() < until and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    until = time.monotonic() + 20
    while (left := of_work(work)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left
    assert not to.exists()
    record = run(loans, loans / "many.parquet", "--to", to, "--workers", "2")
    assert record["resumed_chunks"] >= 1
    assert record["rows"]["read"] == 900_000
    wanted = pl.DataFrame(expected(loans, source)).select("account", "score")
    assert pl.read_parquet(to).select("account", "score").equals(pl.concat([wanted] * 3000))
    tidy(loans)


def of_work(work: Path) -> list[str]:
    """Processes that score into a work folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if b"batch_worker" in command and str(work).encode() in command:
            found.append(path.parent.name)
    return found


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds processes by /proc")
def test_a_worker_that_dies_is_told_of(
    loans: Path, source: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []
    popen = subprocess.Popen

    def remember(*arguments: Any, **named: Any) -> Any:
        begun.append(popen(*arguments, **named))
        return begun[-1]

    monkeypatch.setattr(batch_pool.subprocess, "Popen", remember)
    workspace = Workspace.at(loans)
    request = ScoreRequest(str(source), str(loans / "d.parquet"), workers=2)
    heard = []

    class Killing:
        def start(self, label: str, total: int | None = None) -> None: ...

        def advance(self, n: int = 1, note: str = "") -> None:
            heard.append(n)
            if len(heard) == 2:
                for process in begun:
                    process.kill()

        def finish(self, note: str = "") -> None: ...

    with pytest.raises(CharterError, match="was killed, perhaps for want of memory"):
        score(workspace, workspace.load(), request, Killing())
    record = run(loans, source, "--to", loans / "d.parquet")
    assert record["resumed_chunks"] >= 1
    assert pl.read_parquet(loans / "d.parquet")["account"].to_list() == [
        r["account"] for r in expected(loans, source)
    ]


# ----------------------------------------------------------------------------------------------- wrong inputs
def refused(folder: Path, *arguments: str | Path, code: int = 2) -> str:
    said = charter("score", *arguments, "--in", folder)
    assert said.code == code, (said.code, said.out, said.err)
    return said.err


def test_wrong_inputs_are_told_in_words(loans: Path, source: Path) -> None:
    to = loans / "x.parquet"
    frame = pl.read_parquet(source)
    frame.drop("credit").write_parquet(loans / "lacks.parquet")
    frame.with_columns(late=pl.lit([1, 2])).write_parquet(loans / "odd.parquet")
    (loans / "empty.csv").touch()
    (loans / "empty.parquet").touch()
    (loans / "torn.parquet").write_bytes(source.read_bytes()[:-50])
    (loans / "latin.csv").write_bytes(frame.write_csv().replace("north", "nörd").encode("latin-1"))
    (loans / "folder").mkdir()
    for name, words in {
        "none.parquet": "is not there",
        "lacks.parquet": "column 'credit' is not in the source, and the model needs it (float)",
        "odd.parquet": "column 'late' is List",
        "empty.csv": "is empty",
        "empty.parquet": "is empty",
        "torn.parquet": "cannot be read as parquet",
        "latin.csv": "iconv",
        "folder": "holds no .parquet and no .csv",
        "a.xlsx": "tells no format",
    }.items():
        assert words in refused(loans, loans / name, "--to", to), name
        assert not to.exists()
    cases = {
        ("--model", "other"): "the model of this folder is small-loans",
        ("--model", "small-loans@latest"): "is not understood",
        ("--model", "small-loans@v7"): "there is no version v7",
        ("--keep", "acount"): "no such column",
        ("--as-of", "2025-01-01"): "models of entities",
        ("--query", "SELECT 1"): "for databases",
        ("--engine", "spark"): "not known",
        ("--max-rejected", "some"): "is not understood",
    }
    for options, words in cases.items():
        assert words in refused(loans, source, "--to", to, *options), options
    tidy(loans)


def test_damage_within_a_file_is_told_in_words(loans: Path, source: Path) -> None:
    content = bytearray(source.read_bytes())
    content[2000:6000] = bytes(4000)
    (loans / "damaged.parquet").write_bytes(content)
    said = refused(loans, loans / "damaged.parquet", "--to", loans / "x.parquet")
    assert "damaged.parquet cannot be read as parquet" in said
    assert not (loans / "x.parquet").exists()


def test_targets_that_cannot_be_are_refused(loans: Path, source: Path) -> None:
    (loans / "there.parquet").touch()
    assert "is there already" in refused(loans, source, "--to", loans / "there.parquet")
    assert (loans / "there.parquet").stat().st_size == 0
    run(loans, source, "--to", loans / "there.parquet", "--replace")
    assert pl.read_parquet(loans / "there.parquet").height == 297
    assert "there is no folder" in refused(loans, source, "--to", loans / "nowhere" / "x.parquet")
    assert "there is no folder" in refused(loans, source, "--to", source / "x.parquet")
    assert "tells no format" in refused(loans, source, "--to", loans / "x.xlsx")
    assert "names no table" in refused(loans, source, "--to", f"sqlite:///{loans / 'a.db'}")
    assert "unable to open" in refused(loans, f"sqlite:///{loans / 'no' / 'a.db'}#t", "--to", loans / "y.csv")
    assert "no such table" in refused(loans, f"sqlite:///{loans / 'a.db'}#t", "--to", loans / "y.csv")
    tidy(loans)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_cannot_be_written_is_named(loans: Path, source: Path) -> None:
    (loans / "shut").mkdir(mode=0o500)
    assert "cannot be written" in refused(loans, source, "--to", loans / "shut" / "x.parquet")


def test_no_rows_are_no_error(loans: Path, source: Path) -> None:
    pl.read_parquet(source).clear().write_parquet(loans / "none.parquet")
    pl.read_parquet(source).clear().write_csv(loans / "none.csv")
    for name in ("none.parquet", "none.csv"):
        for options in ((), ("--rank",)):
            record = run(loans, loans / name, "--to", loans / "n.parquet", "--replace", *options)
            assert record["rows"]["read"] == 0
            assert pl.read_parquet(loans / "n.parquet").is_empty()


def test_a_limit_of_rejected_rows_stops_the_job(loans: Path, source: Path, small_chunks: None) -> None:
    to = loans / "l.parquet"
    said = refused(loans, source, "--to", to, "--max-rejected", "2", code=1)
    assert "3 of the" in said
    assert "late: at most 9 (3 rows)" in said
    assert not to.exists()
    said = refused(loans, source, "--to", to, "--max-rejected", "0.5%", code=1)
    record = run(loans, source, "--to", to, "--max-rejected", "1%")
    assert record["resumed_chunks"] >= 6
    assert record["rows"]["rejected"] == 3


def test_another_job_does_not_go_on_with_the_work_of_this_one(
    loans: Path, source: Path, small_chunks: None
) -> None:
    to = loans / "o.parquet"
    refused(loans, source, "--to", to, "--max-rejected", "0", code=1)
    said = refused(loans, source, "--to", to, "--rank")
    assert "--rank False, now True" in said
    pl.read_parquet(source).with_columns(late=pl.lit(1)).write_parquet(source)
    said = refused(loans, source, "--to", to)
    assert "source fingerprint" in said
    record = run(loans, source, "--to", to, "--restart")
    assert (record["resumed_chunks"], record["rows"]["scored"]) == (0, 300)


def test_two_at_once_on_one_target(loans: Path, source: Path) -> None:
    work = loans / ".b.parquet.scoring"
    work.mkdir()
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "is held by" in refused(loans, source, "--to", loans / "b.parquet", code=1)


def test_what_was_never_released_scores_nothing(loans: Path, source: Path) -> None:
    with sqlite3.connect(loans / ".charter" / "records.sqlite") as connection:
        connection.execute("DELETE FROM deployments")
    connection.close()
    assert "nothing of small-loans is released" in refused(loans, source, "--to", loans / "x.csv", code=1)
    assert "was never released" in refused(
        loans, source, "--to", loans / "x.csv", "--model", "small-loans@v1", code=1
    )


def test_a_package_that_was_altered_scores_nothing(loans: Path, source: Path) -> None:
    (package,) = (loans / ".charter" / "packages").iterdir()
    rules = package / "decision.json"
    rules.write_text(rules.read_text().replace('"threshold":0.', '"threshold":0.9'))
    assert "decision.json" in refused(loans, source, "--to", loans / "x.csv")


def test_a_source_that_changes_meanwhile_is_told(
    loans: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from charter.flow import score as flow

    scored = flow._run

    def meddled(*arguments: Any) -> Any:
        found = scored(*arguments)
        os.utime(source, ns=(1, 1))
        return found

    monkeypatch.setattr(flow, "_run", meddled)
    assert "was changed while it was being scored" in refused(loans, source, "--to", loans / "x.csv")


def test_what_is_asked_for_is_understood_by_its_form(tmp_path: Path) -> None:
    assert place("a.CSV", target=True).kind == "csv"
    assert place(f"file://{tmp_path}/a.pq", target=False).path == tmp_path / "a.pq"
    assert place(str(tmp_path), target=False).kind == "folder"
    assert place("out/", target=True).kind == "folder"
    database = place("postgresql://eva:secret@db/x#a.scores", target=True)
    assert (database.url, database.table) == ("postgresql://eva:secret@db/x", "a.scores")
    assert database.shown == "postgresql://eva:***@db/x#a.scores"
    assert which_version(None, "m") is which_version("m", "m") is which_version("m@champion", "m") is None
    assert which_version("m@v12", "m") == 12
    assert rejection_limit("2 %", 50) == 1
