"""What holds for every route: who may enter, how errors look, which limits apply, what operators see."""

import gzip
import re
from uuid import uuid4

import psycopg
import pytest
import structlog

from recto.api import create_app, operations
from recto.db import migrations
from recto.sandbox.predictions import SIGNING_SECRET

PUBLIC = {
    "/",
    "/playground/<path:filename>",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/files/<path:text>",
}
BODY = {"source_text": "The fox is an animal that lives in the forest. " * 30}


@pytest.fixture
def app(open_client):
    pictures = {
        "replicate_api_token": "r8_a-token",
        "replicate_webhook_secret": SIGNING_SECRET,
        "public_base_url": "https://recto.test",
    }
    return create_app(open_client(**pictures).runtime)


def test_every_route_but_the_public_ones_needs_a_token(app):
    closed = [rule for rule in app.url_map.iter_rules() if rule.rule not in PUBLIC]
    assert len(closed) == 2 * 27
    for rule in closed:
        path = re.sub(r"<[^>]+>", "1", rule.rule)
        for method in rule.methods - {"OPTIONS", "HEAD"}:
            assert app.test_client().open(path, method=method).status_code == 401, (method, path)


def test_each_api_route_stands_at_its_path_and_again_under_api(app):
    rules = {rule.rule for rule in app.url_map.iter_rules()} - PUBLIC
    assert {f"/api{rule}" for rule in rules if not rule.startswith("/api")} == {
        rule for rule in rules if rule.startswith("/api")
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/generations/", 404, "not_found"),
        ("GET", "/generations/abc", 404, "not_found"),
        ("GET", "/playground/../wsgi.py", 404, "not_found"),
        ("PUT", "/generations", 405, "method_not_allowed"),
        ("DELETE", "/api/generations/1", 405, "method_not_allowed"),
        ("POST", "/healthz", 405, "method_not_allowed"),
    ],
)
def test_what_is_not_there_is_told_in_the_one_envelope(app, method, path, status, code):
    response = app.test_client().open(path, method=method)
    assert response.status_code == status
    assert response.json["error"] == code
    assert set(response.json) == {"error", "message"}
    assert response.headers["X-Request-ID"]
    assert ("Allow" in response.headers) == (status == 405)


def test_the_unforeseen_is_an_internal_error_without_details(app):
    @app.get("/broken")
    def broken():
        raise KeyError("a secret detail")

    response = app.test_client().get("/broken")
    assert response.status_code == 500
    assert response.json["error"] == "internal_error"
    assert "secret" not in response.text
    assert response.headers["X-Request-ID"]


def test_the_log_of_the_unforeseen_holds_nothing_of_a_user(client, capsys):
    @client.app.post("/broken")
    def broken():
        raise ValueError(BODY["source_text"])

    assert client.post("/broken", json=BODY).status_code == 500
    client.query("alter table generation_jobs add constraint impossible check (false)")
    assert client.post("/ai/generations", json=BODY).status_code == 500
    log = "".join(capsys.readouterr())
    assert log.count("unforeseen_error") == 2
    assert "ValueError" in log
    assert "impossible" in log
    assert "fox" not in log


@pytest.mark.parametrize("given", ["abc-123", "0af7651916cd43dd8448eb211c80319c", "a" * 128])
def test_a_valid_request_id_is_kept(app, given):
    assert app.test_client().get("/healthz", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "a b", "a" * 129, "<script>", "ü", None])
def test_any_other_request_id_is_replaced(app, given):
    headers = {} if given is None else {"X-Request-ID": given}
    assert re.fullmatch("[0-9a-f]{32}", app.test_client().get("/healthz", headers=headers).headers["X-Request-ID"])


def test_made_up_methods_are_no_time_series_of_their_own(app):
    client = app.test_client()
    assert client.open("/generations", method="BREW").status_code == 405
    metrics = client.get("/metrics").text
    assert 'method="other",route="unmatched",status="405"' in metrics
    assert "BREW" not in metrics


OURS, FOREIGN = "https://app.example", "https://elsewhere.example"


@pytest.mark.parametrize("origin", [None, OURS, FOREIGN])
@pytest.mark.parametrize("origins", [(), (OURS,), (OURS, "https://other.example")])
def test_browsers_elsewhere_are_refused_unless_they_are_named(open_client, origins, origin):
    client = create_app(open_client(cors_origins=origins).runtime).test_client()
    headers = {"Access-Control-Request-Method": "POST"} | ({"Origin": origin} if origin else {})
    allowed = origin if origin in origins else None
    for method, status in (("OPTIONS", 200), ("POST", 401)):
        response = client.open("/generations", method=method, headers=headers)
        assert response.status_code == status
        assert response.headers.get("Access-Control-Allow-Origin") == allowed
        assert "Access-Control-Allow-Credentials" not in response.headers  # tokens are sent by hand, never cookies
        assert ("Origin" in response.vary) == bool(origins)


def test_a_browser_may_send_and_read_the_headers_of_the_contract(open_client):
    client = create_app(open_client(cors_origins=(OURS,)).runtime).test_client()
    asked = "authorization, content-type, idempotency-key, if-none-match, prefer, x-request-id"
    headers = {"Origin": OURS, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": asked}
    preflight = client.options("/generations", headers=headers)
    assert preflight.headers["Access-Control-Allow-Headers"].lower() == asked
    assert preflight.headers["Access-Control-Max-Age"] == "600"
    exposed = client.get("/generations", headers=headers).headers["Access-Control-Expose-Headers"]
    assert set(exposed.split(", ")) == {
        "Content-Disposition",
        "ETag",
        "Idempotent-Replayed",
        "Location",
        "Preference-Applied",
        "RateLimit",
        "RateLimit-Policy",
        "Retry-After",
        "X-Request-ID",
    }


@pytest.mark.parametrize("path", ["/generations", "/api/ai/generations", "/usage", "/generations/1", "/nowhere"])
def test_what_belongs_to_a_user_is_cached_by_nobody(client, path):
    for response in (client.get(path), client.app.test_client().get(path)):
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_may_be_cached(app):
    with app.test_client().get("/playground/app.js") as response:
        assert "no-store" not in response.headers["Cache-Control"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.fixture
def without_a_database(open_client, monkeypatch):
    """An app whose database is away; who waits for it waits for ever, but for those who look after the service."""
    monkeypatch.setattr(operations, "_WITHIN_S", 0.05)
    client = open_client(database_url="postgresql://nobody@127.0.0.1:9/none", database_pool_size=1)
    client.runtime.pool.timeout = 3600
    return client.app


def test_it_is_alive_without_a_database_but_not_ready(without_a_database):
    assert without_a_database.test_client().get("/healthz").status_code == 200
    response = without_a_database.test_client().get("/readyz")
    assert response.status_code == 503
    assert response.json == {"error": "unavailable", "message": "The database cannot be reached."}


def test_metrics_do_not_wait_for_the_database(without_a_database, stopped_after_a_minute):
    """Prometheus would give up, and know nothing of the outage."""
    response = without_a_database.test_client().get("/metrics")
    assert response.status_code == 200
    assert "recto_http_requests_total" in response.text
    assert "recto_jobs_pending" not in response.text


def test_it_is_not_ready_before_its_migrations(open_client, empty_database):
    app = create_app(open_client(database_url=empty_database).runtime)
    response = app.test_client().get("/readyz")
    assert response.status_code == 503
    assert "recto migrate" in response.json["message"]
    migrations.migrate(empty_database)
    assert app.test_client().get("/readyz").status_code == 200


def test_it_is_not_ready_over_a_database_that_takes_no_writes(open_client, database):
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(f"alter database {name} set default_transaction_read_only = on")
    response = create_app(open_client().runtime).test_client().get("/readyz")
    assert response.status_code == 503
    assert response.json == {"error": "unavailable", "message": "The database takes no writes."}


def test_a_role_that_may_do_only_what_it_needs_is_enough(open_client, database, postgres):
    role = f"service_{uuid4().hex}"
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(f"create role {role} login noinherit")
        conn.execute(f"grant authenticated, recto_service to {role}")
        conn.execute(f"grant usage on schema recto to {role}")
        conn.execute(f"grant select on recto.migrations to {role}")
        conn.execute(f"grant select, insert, update, delete on recto.rate_limits to {role}")
    client = open_client(database_url=database.replace("user=postgres", f"user={role}"))
    assert create_app(client.runtime).test_client().get("/readyz").status_code == 200
    assert client.post(json=BODY).status_code == 200
    assert len(client.get("/generations").json["generations"]) == 1
    with (
        psycopg.connect(client.runtime.settings.database_url) as conn,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        conn.execute("select * from generations")  # a forgotten SET ROLE fails closed


def test_the_page_is_served_under_a_strict_policy(app):
    client = app.test_client()
    for path, unsafe in (("/", 0), ("/playground/app.js", 0), ("/docs", 1)):
        with client.get(path) as response:
            assert response.status_code == 200
            policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert policy.count("unsafe") == policy.count("style-src 'self' 'unsafe-inline';") == unsafe


def test_the_renderer_of_the_documentation_is_sent_compressed_and_kept_by_its_version(app):
    client = app.test_client()
    (source,) = re.findall('src="(.+scalar.+)"', client.get("/docs").text)
    with client.get(f"/{source}") as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert response.mimetype == "text/javascript"
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert len(gzip.decompress(response.data)) > 1_000_000


def test_a_request_leaves_nothing_in_the_log_lines_of_the_next(client):
    client.get("/generations", headers={"X-Request-ID": "the-first"})
    assert structlog.contextvars.get_contextvars() == {}


@pytest.mark.parametrize(
    ("changes", "says_so"),
    [
        ({"openrouter_model": "sandbox/extractive"}, True),
        ({"openrouter_model": "openai/gpt-4o-mini", "openrouter_api_key": "sandbox"}, True),
        ({"openrouter_model": "openai/gpt-4o-mini"}, False),
    ],
    ids=["its model", "its key", "another provider"],
)
def test_the_page_says_that_cards_are_by_rule_where_the_sandbox_makes_them(open_client, changes, says_so):
    page = open_client(**changes).app.test_client().get("/").text
    assert ("these cards are made by rule, not by a model" in page) == says_so


def test_the_pages_sign_in_the_development_user_on_this_machine_alone(client, open_client):
    app = open_client(development_user=client.user_id).app
    for page in ("/", "/docs"):
        token = re.search('data-token="([^"]+)"', app.test_client().get(page).text)[1]
        assert app.test_client().get("/usage", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        assert "data-token" not in app.test_client().get(page, base_url="http://127.0.0.1.attacker.example/").text
        assert "data-token" not in client.app.test_client().get(page).text


@pytest.mark.parametrize(
    ("storage", "source"),
    [
        (None, "http://127.0.0.1:9"),
        (
            "s3://bucket/recto?endpoint_url=http://127.0.0.1:9&public_url=https://cdn.example.org/a",
            "https://cdn.example.org",
        ),
    ],
    ids=["folder", "bucket"],
)
def test_the_page_offers_pictures_where_they_are_on_and_may_load_them_from_the_storage_alone(
    client, open_images, storage, source
):
    with_pictures = open_images(**({"storage_url": storage} if storage else {})).app
    for served, is_on, sources in ((client.app, False, "'self'"), (with_pictures, True, f"'self' {source}")):
        answer = served.test_client().get("/")
        assert ("data-pictures" in answer.text) == is_on
        assert ("<kbd>I</kbd>" in answer.text) == is_on
        assert "{%" not in answer.text
        assert f"; img-src {sources}; " in answer.headers["Content-Security-Policy"]
