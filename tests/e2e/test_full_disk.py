"""A disk that is full: said clearly, nothing lost that was acknowledged, and everything goes on once there is room."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import polars as pl
import pytest
from e2e_models import accounts, charter, done

from charter.flow.serving import released, sample_requests
from charter.flow.workspace import Workspace
from charter.serve.io.loading import write_deployment
from charter.serve.io.server import start
from charter.serve.log_reader import scan
from charter.serve.policy import LogPolicy

PROGRAM = "import sys; from charter.cli.main import main; main()"
SAID = "No space left on device"
MEGABYTE = 1 << 20


class Disk:
    """A file system of a few megabytes in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Leave no byte."""
        handle = os.open(self.folder / "ballast", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for size in (MEGABYTE, 4096, 1):
            with suppress(OSError):
                while True:
                    os.write(handle, b"x" * size)
        os.close(handle)

    def free(self) -> None:
        (self.folder / "ballast").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system can only be mounted by root")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command as a person runs it, with workers of its own."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_batch_scoring_says_so_and_goes_on_when_there_is_room(loans: Path, disk: Disk, kind: str):
    source, target = loans / "many.parquet", disk.folder / f"out.{kind}"
    pl.concat([accounts(2000, seed=8).drop("outcome")] * 100).write_parquet(source)
    (disk.folder / "ballast").write_bytes(b"x" * 22 * MEGABYTE)
    arguments = ("score", source, "--to", target, "--in", loans, "--workers", 2, "--keep", "credit")
    full = run(*arguments)
    assert full.returncode == 2, full.stderr
    assert SAID in full.stderr
    assert "Traceback" not in full.stderr
    assert not target.exists()
    disk.free()
    again = run(*arguments, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["rows"]["read"] == 200_000
    rows = pl.read_parquet(target) if kind == "parquet" else pl.read_csv(target)
    assert rows.height == json.loads(again.stdout)["rows"]["scored"]


def test_a_trail_that_cannot_be_read_for_want_of_room_says_so(loans: Path, disk: Disk):
    home = Path(shutil.copytree(loans, disk.folder / "loans"))
    disk.fill()
    # SQLite wants some kilobytes beside the records even to read them.
    found = charter("audit", "verify", "--in", home)
    assert found.code == 0 or (found.code == 2 and SAID in found.err), found.err
    disk.free()
    assert done("audit", "verify", "--in", home).out.endswith("whole.\n")


def test_a_durable_server_acknowledges_only_what_is_in_its_log(loans: Path, disk: Disk, tmp_path: Path):
    workspace = Workspace.at(loans)
    loaded = workspace.load()
    (model,) = released(workspace, loaded).models
    logged = (replace(model, log=LogPolicy("durable")),)
    deployment = replace(released(workspace, loaded), models=logged, log=disk.folder / "log")
    write_deployment(tmp_path / "deployment.json", deployment)
    body = json.dumps(sample_requests(workspace, loaded, count=1)[0]).encode()
    running = start(tmp_path / "deployment.json", workers=2, log=tmp_path / "server.log")
    url = f"{running.url}/api/v1/predict/small-loans"
    acknowledged: list[str] = []
    try:
        acknowledged += [ask(url, body)[1]["id"] for _ in range(20)]
        disk.fill()
        met = [ask(url, body) for _ in range(400)]
        refused = [content for status, content in met if status == 503]
        assert {status for status, _ in met} <= {200, 503}
        assert refused
        assert SAID in refused[0]["error"]["message"]
        acknowledged += [content["id"] for status, content in met if status == 200]
        disk.free()
        later = [ask(url, body) for _ in range(40)]
        assert later[-1][0] == 200
        acknowledged += [content["id"] for status, content in later if status == 200]
    finally:
        assert running.stop() == 0
    found = scan(disk.folder / "log").collect()["id"]
    assert found.is_duplicated().sum() == 0
    assert set(acknowledged) <= set(found.to_list())


def ask(url: str, body: bytes) -> tuple[int, dict]:
    try:
        with urlopen(Request(url, body, {"content-type": "application/json"}), timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())
