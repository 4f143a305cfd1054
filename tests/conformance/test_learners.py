"""Every registered learner keeps the learners' rules, for each of its tasks."""

from __future__ import annotations

import pytest

from charter.core import plugins
from charter.testing.learners import CHECKS
from charter.train.ports import Fitted, Learner

CASES = [
    (name, task)
    for name in plugins.names("learners")
    for task in sorted(plugins.load("learners", name)().tasks)
]


@pytest.mark.parametrize(("name", "task"), CASES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_learner(check, name, task):
    check(plugins.load("learners", name)(), task)


@pytest.mark.parametrize("name", plugins.names("learners"))
def test_learner_has_the_ports_shape(name):
    learner = plugins.load("learners", name)()
    assert isinstance(learner, Learner)
    assert learner.name == name
    assert callable(Fitted.predict)
