"""Whatever the OpenAPI document allows, and much that it does not: no answer is a 5xx, each 4xx names its cause."""

from __future__ import annotations

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from serve_models import serve


@pytest.mark.filterwarnings("ignore")
def test_no_request_breaks_the_server(credit):
    application = serve(credit)
    application.ready = True
    operations = [
        o.ok() for o in schemathesis.openapi.from_asgi("/openapi.json", application).get_all_operations()
    ]
    assert len(operations) > 15
    for operation in operations:

        @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def ask(case):
            response = case.call()
            case.validate_response(response, checks=[not_a_server_error])
            if response.status_code >= 400:
                assert json.loads(response.content)["error"]

        ask()
