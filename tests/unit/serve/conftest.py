"""Small real models, made once."""

from __future__ import annotations

import pytest
from serve_models import Example, make_churn, make_credit, serve

from charter.serve.app import Application


@pytest.fixture(scope="session")
def credit(tmp_path_factory: pytest.TempPathFactory) -> Example:
    return make_credit(tmp_path_factory.mktemp("credit"))


@pytest.fixture(scope="session")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Example:
    return make_churn(tmp_path_factory.mktemp("churn"))


@pytest.fixture
def application(credit: Example, churn: Example) -> Application:
    return serve(credit, churn)
