"""The document tells what the service does: checked for itself, against the routes, and by fuzzing."""

import json
import re
from uuid import uuid4

import jsonschema_rs
import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from recto.api import openapi, register_routes
from recto.api.operation import Operation
from recto.text.proposals import Bounds

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    positive_data_acceptance,
    negative_data_rejection,
]
# "held no" and "must mend": of a text that is blank but for its ends the sandbox's model makes no card; and the session
# that failed fails again when a long round has lasted until its retry is taken.
BEYOND_A_SCHEMA = [
    "must not add up to more",
    "reviewed twice",
    "held no usable flashcard",
    "knows no",
    "must mend its account",
    "sent more than once",
    "must not contain control characters",
    "must be sent in the mode",
    "needed in the mode",
    "have no meaning in the mode",
    "asks for what is not made here",
    "idempotencyKey and the header Idempotency-Key differ",
    "This generation has ended",
    "does not tell of a prediction and its job",
]

APP = Flask("recto.api", static_folder=None)
register_routes(APP)
DOCUMENT = openapi.document(APP, ("a/model",), Bounds())
PAGES = {"/", "/docs", "/openapi.json", "/playground/<path:filename>", "/files/<path:text>"}


def test_every_route_declares_what_it_takes_and_answers():
    undeclared = {
        rule.rule for rule in APP.url_map.iter_rules() if Operation.of(APP.view_functions[rule.endpoint]) is None
    }
    assert undeclared == PAGES


def test_every_route_is_documented_and_every_documented_route_exists():
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in APP.url_map.iter_rules()
        for method in rule.methods - {"OPTIONS", "HEAD"}
        if not rule.rule.startswith("/api/") and rule.rule not in PAGES
    }
    paths = DOCUMENT["paths"]
    assert routes == {(path, method) for path, methods in paths.items() for method in methods}


def test_every_operation_has_a_name_of_its_own_and_a_summary():
    operations = [operation for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["summary"] and "`" not in operation["summary"] for operation in operations)


def test_the_document_holds_the_schemas_that_it_refers_to_and_no_others():
    names = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)))
    assert names == set(DOCUMENT["components"]["schemas"])


def test_what_is_limited_or_takes_a_key_is_read_from_the_views():
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            starts = method == "post" and path.endswith(("generation", "generations", "/sessions/ai", "retry"))
            headers = {
                parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "header"
            }
            assert ("Idempotency-Key" in headers) == starts
            assert ({"409", "422", "429"} <= set(operation["responses"])) == starts
            told = {name for answer in operation["responses"].values() for name in answer["headers"]}
            assert ("Idempotent-Replayed" in told) == starts
            assert ("RateLimit" in told) == starts


def test_a_token_is_asked_for_where_the_blueprint_asks_for_one():
    public = {path for path, methods in DOCUMENT["paths"].items() if "security" in str(methods)}
    assert public == {"/healthz", "/readyz", "/metrics", "/v1/webhooks/replicate"}


def test_no_field_that_may_be_left_out_has_a_default():
    """Generators of clients make a field required that has a default."""
    schemas = DOCUMENT["components"]["schemas"]
    fields = [
        (schema, field)
        for schema, described in schemas.items()
        for field, rule in described.get("properties", {}).items()
        if "default" in rule and field not in described.get("required", ())
    ]
    assert fields == []
    assert schemas["CreateGeneration"]["properties"]["style"]["description"].endswith("Default: `question`.")


def contents():
    """Yield each body and each answer of the document."""
    for methods in DOCUMENT["paths"].values():
        for operation in methods.values():
            for message in (operation.get("requestBody", {}), *operation["responses"].values()):
                yield from message.get("content", {}).items()


def test_every_body_and_every_answer_has_examples_that_its_schema_allows():
    assert len([*contents()]) > 200
    for media_type, content in contents():
        examples = [content["example"]] if "example" in content else []
        examples += [example["value"] for example in content.get("examples", {}).values()]
        assert examples or media_type in ("application/octet-stream", "multipart/form-data")
        schema = content.get("schema", {}) | {"components": DOCUMENT["components"]}
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        for example in examples:
            validator.validate(example)


def test_the_errors_of_an_operation_are_those_that_it_declares_in_the_words_of_its_callers():
    def codes(path, method, status):
        return [*DOCUMENT["paths"][path][method]["responses"][status]["content"]["application/json"]["examples"]]

    assert codes("/generations", "post", "409") == ["in_progress"]
    assert codes("/generations", "post", "429") == ["rate_limited", "quota_exceeded"]
    assert codes("/generations/{generation_id}", "patch", "409") == ["reviewed_here"]
    assert codes("/generations", "post", "502") == [
        "upstream_error",
        "upstream_refused",
        "upstream_rate_limited",
        "upstream_timeout",
        "upstream_invalid_response",
    ]
    assert codes("/v1/generations", "post", "409") == ["TOO_MANY_INFLIGHT"]
    assert codes("/v1/generations", "post", "502") == ["UPSTREAM_ERROR"]
    assert codes("/v1/generations", "post", "400") == ["VALIDATION_ERROR"]


def test_it_is_served(client):
    response = client.get("/openapi.json")
    assert response.status_code == 200
    assert response.json["openapi"] == "3.1.0"


OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]
TAKES_ANYTHING = [
    (path, method)
    for path, method in OPERATIONS
    if DOCUMENT["paths"][path][method].keys() & {"parameters", "requestBody"}
]
TEXT = "The Rosetta Stone is a slab of granodiorite that carries one decree in three scripts. " * 12


@pytest.fixture
def client(images):
    """A client of an app in which all is on."""
    return images


@pytest.fixture
def things(client):
    """One of each thing that a path may name."""
    failed = client.post("/sessions/ai", json={"source_text": f"{TEXT}\n[sandbox: http-402]"}).json
    session = client.post("/sessions/ai", json={"source_text": TEXT}).json
    deck_id = str(uuid4())
    client.post(f"/decks/{deck_id}/generation", json={"topic": "Rome", "count": 2})
    client.work()
    record = client.post("/generations", json={"source_text": TEXT}).json
    picture = client.post("/v1/generations", json={"mode": "imagine", "prompt": "a fox"}).json
    client.patch(f"/v1/generations/{picture['id']}", json={"action": "cancel"})
    return {
        "/generations": {"generation_id": record["generation_id"]},
        "/sessions": {"generation_id": failed["generation_id"]},
        "/ai/generations": {"generation_id": session["generation"]["generation_id"]},
        "/ai/suggestions": {"suggestion_id": session["session"]["proposals"][0]["id"]},
        "/decks": {"deck_id": deck_id},
        "/v1/generations": {"generation_id": picture["id"]},
    }


# Schemathesis itself draws from `random` inside its strategies, of which Hypothesis disapproves.
draws_by_itself = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")


@draws_by_itself
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_what_the_document_allows_is_taken_and_answered_as_documented(client, things, path, method):
    known = next((named for prefix, named in things.items() if path.startswith(prefix) and "{" in path), None)
    fuzz(client, path, method, GenerationMode.POSITIVE, path_parameters=known)


@draws_by_itself
@pytest.mark.parametrize(("path", "method"), TAKES_ANYTHING)
def test_what_the_document_forbids_is_refused_and_answered_as_documented(client, path, method):
    fuzz(client, path, method, GenerationMode.NEGATIVE)


@draws_by_itself
@pytest.mark.soak
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["allowed", "forbidden"])
def test_a_long_round_of_new_examples_finds_no_answer_that_is_not_documented(client, things, mode):
    for path, method in TAKES_ANYTHING:
        known = next((named for prefix, named in things.items() if path.startswith(prefix) and "{" in path), {})
        given = {"path_parameters": known} if known and mode == GenerationMode.POSITIVE else {}
        fuzz(client, path, method, mode, times=20, derandomize=False, **given)


def fuzz(client, path, method, mode, times=1, derandomize=True, **known):
    schema = schemathesis.openapi.from_wsgi("/openapi.json", client.app)
    schema.config.generation.update(allow_extra_parameters=False)  # unknown parameters are ignored
    config = schema.config.checks
    config.positive_data_acceptance.expected_statuses += ["410", "413", "422"]  # of what is there, not of what is sent
    config.negative_data_rejection.expected_statuses += ["413"]
    headers = {"Authorization": f"Bearer {client.token()}"}

    body = json.dumps(DOCUMENT["paths"][path][method].get("requestBody"))
    # Hypothesis takes long for a thousand letters.
    examples = times * (4 if "CreateGeneration" in body or "Start" in body else 10)

    @given(case=schema[path][method.upper()].as_strategy(mode, **known))
    @settings(max_examples=examples, deadline=None, derandomize=derandomize, suppress_health_check=list(HealthCheck))
    def send(case):
        response = case.call(headers=headers)
        if response.status_code >= 400 and any(rule in response.text for rule in BEYOND_A_SCHEMA):
            return
        case.validate_response(response, checks=CHECKS)

    send()
