"""What every test gets: a home of its own, repeatable Hypothesis runs, data and servers if there are any."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# As `charter` does: threads that wait by spinning make a fit ten times slower when anything else runs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile(
    "thorough", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))

# A checkout beside a folder shared/data uses it; elsewhere CHARTER_DATA names the folder, or data tests skip.
if "CHARTER_DATA" not in os.environ and (ROOT.parent / "shared" / "data").is_dir():
    os.environ["CHARTER_DATA"] = str(ROOT.parent / "shared" / "data")


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keys, downloads and runs of the tests never touch those of the person at the keyboard."""
    os.environ["CHARTER_HOME"] = str(tmp_path_factory.mktemp("home"))
    os.environ["CHARTER_ACTOR"] = "tester"
    for name in ("CHARTER_RECORDS_URL", "CHARTER_BLOBS_URL", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def root() -> Path:
    """Root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder of the catalogue's data sets; skips where there is none."""
    folder = os.environ.get("CHARTER_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("no data sets here: CHARTER_DATA names no folder")
    return Path(folder)


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """SQLAlchemy address of an empty PostgreSQL database; skips where there is none."""
    url = os.environ.get("CHARTER_TEST_POSTGRES")
    if not url:
        pytest.skip("no PostgreSQL here: CHARTER_TEST_POSTGRES is not set (.ci/run starts one)")
    return url
