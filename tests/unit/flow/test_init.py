"""A model of one's own, started from a reference system."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from charter import __version__
from charter.core.errors import UsageError
from charter.flow.init import WORKFLOW, create
from charter.spec.loader import load
from charter.spec.notices import notices


def test_the_model_bears_the_name_that_is_asked_for(tmp_path: Path) -> None:
    create(tmp_path / "mine", "customer-churn", name="loyal-readers")
    assert load(tmp_path / "mine" / "model.yaml").spec.name == "loyal-readers"


def test_without_a_name_it_keeps_the_reference_systems(tmp_path: Path) -> None:
    create(tmp_path / "mine", "customer-churn")
    assert load(tmp_path / "mine" / "model.yaml").spec.name == "customer-churn"


def test_nothing_passes_for_ones_own_that_tells_of_the_reference_system(tmp_path: Path) -> None:
    create(tmp_path / "mine", "credit-risk", name="no-show")
    spec = load(tmp_path / "mine" / "model.yaml").spec
    text, page = ((tmp_path / "mine" / name).read_text() for name in ("model.yaml", "README.md"))
    assert page.startswith("# no-show\n\nStarted from the reference system credit-risk")
    assert text.startswith("# no-show. What is not yet yours")
    assert "credit-risk" not in text
    assert spec.owner.team == "tester"
    assert [str(n.path[0]) for n in notices(spec)] == ["summary", "owner"]


@pytest.mark.parametrize("name", ["Loyal", "a b", "x" * 65, "a\nsummary: other", "", "-a"])
def test_what_cannot_be_a_name_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--name"):
        create(tmp_path / "mine", "customer-churn", name=name)
    assert not (tmp_path / "mine").exists()


def test_a_workflow_for_continuous_integration_checks_plans_builds_and_verifies(tmp_path: Path) -> None:
    assert WORKFLOW in create(tmp_path / "mine", "customer-churn")
    steps = yaml.safe_load((tmp_path / "mine" / WORKFLOW).read_text())["jobs"]["model"]["steps"]
    ran = [step["run"].split() for step in steps if step.get("run", "").startswith("charter")]
    assert [words[1] for words in ran] == ["check", "plan", "apply", "verify"]
    assert f"=={__version__}" in (tmp_path / "mine" / WORKFLOW).read_text()
