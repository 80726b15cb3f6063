"""The server does what its published OpenAPI document says, by requests that schemathesis makes of it.

Good ones are answered in the documented form, spoiled ones refused with a documented status; nothing
ends in a 5xx. JSON bodies only: JSON Lines and CSV have no schema that a generator could follow.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from inference_code.openapi import document
from tests.inference_code.running import RunningServer

schemathesis = pytest.importorskip("schemathesis")  # needs a newer Python than the container's packages

from schemathesis.checks import CheckFunction, load_all_checks, not_a_server_error  # noqa: E402
from schemathesis.specs.openapi import checks  # noqa: E402

load_all_checks()
CHECKS: list[CheckFunction] = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
]


def _only_json(found: dict[str, Any]) -> dict[str, Any]:
    found = copy.deepcopy(found)
    for operations in found["paths"].values():
        for operation in operations.values():
            content = operation.get("requestBody", {}).get("content", {})
            for kind in [kind for kind in content if kind != "application/json"]:
                del content[kind]
    return found


SCHEMA = schemathesis.openapi.from_dict(_only_json(document(["feature-extraction"], openai=False)))


@SCHEMA.parametrize()
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
def test_every_operation_keeps_to_the_document(case: schemathesis.Case, server: RunningServer) -> None:
    """Whatever the generator makes of the schemas, and of what contradicts them."""
    case.call_and_validate(base_url=f"http://127.0.0.1:{server.port}", checks=CHECKS)
