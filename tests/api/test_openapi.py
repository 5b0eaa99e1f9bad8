"""The document tells what the service does: checked for itself, against the routes, and by fuzzing."""

import re

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from recto.api import create_app, openapi

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def test_every_route_is_documented_and_every_documented_route_exists(client):
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in create_app(client.runtime).url_map.iter_rules()
        for method in rule.methods - {"OPTIONS", "HEAD"}
        if not rule.rule.startswith(("/api/", "/playground/")) and rule.rule not in ("/", "/docs", "/openapi.json")
    }
    paths = openapi.document()["paths"]
    assert routes == {(path, method) for path, methods in paths.items() for method in methods}


def test_every_reference_leads_somewhere():
    text = openapi.document_json().decode()
    names = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert names <= set(openapi.document()["components"]["schemas"])


def test_it_is_served(client):
    response = client.get("/openapi.json")
    assert response.status_code == 200
    assert response.json["openapi"] == "3.1.0"


OPERATIONS = [(path, method.upper()) for path, methods in openapi.document()["paths"].items() for method in methods]


# Schemathesis itself draws from `random` inside its strategies, of which Hypothesis disapproves.
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_no_request_makes_the_service_fail_or_answer_otherwise_than_documented(client, path, method):
    schema = schemathesis.openapi.from_wsgi("/openapi.json", create_app(client.runtime))
    headers = {"Authorization": f"Bearer {client.token()}"}

    @given(case=schema[path][method].as_strategy())
    @settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def fuzz(case):
        response = case.call(headers=headers)
        assert response.status_code != 500  # which is documented, but only for what cannot be foreseen
        case.validate_response(response, checks=CHECKS)

    fuzz()
