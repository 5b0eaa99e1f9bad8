"""What holds for every route: who may enter, how errors look, which limits apply, what operators see."""

import re
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest

from recto.api import create_app
from recto.db import migrations

PUBLIC = {"/", "/playground/<path:filename>", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"}
BODY = {"source_text": "The fox is an animal that lives in the forest. " * 30}


@pytest.fixture
def app(client):
    return create_app(client.runtime)


def test_every_route_but_the_public_ones_needs_a_token(app):
    closed = [rule for rule in app.url_map.iter_rules() if rule.rule not in PUBLIC]
    assert len(closed) == 2 * 18
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


def test_the_limit_per_user_is_told_and_kept(open_client):
    client = open_client(rate_limit_per_user="2 per 5 minutes", rate_limit_per_ip="30 per 5 minutes")
    first = client.post(json=BODY)
    assert first.headers["RateLimit-Policy"] == '"user";q=2;w=300, "ip";q=30;w=300'
    assert re.fullmatch(r'"user";r=1;t=\d+, "ip";r=29;t=\d+', first.headers["RateLimit"])
    assert client.post(json=BODY).status_code == 200
    refused = client.post(json=BODY)
    assert refused.status_code == 429
    assert refused.json["error"] == "rate_limited"
    assert 290 < int(refused.headers["Retry-After"]) <= 300
    assert refused.headers["RateLimit"].startswith('"user";r=0;t=')
    assert len(client.rows("generations")) == 2
    assert open_client(rate_limit_per_user="2 per 5 minutes").post(json=BODY).status_code == 200


def test_the_limit_per_address_counts_all_of_its_users(open_client):
    limits = {"rate_limit_per_user": "10 per minute", "rate_limit_per_ip": "2 per minute"}
    statuses = [open_client(**limits).post(json=BODY).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_the_limits_come_after_the_token_and_before_the_body(open_client):
    client = open_client(rate_limit_per_user="1 per minute")
    assert client.post(json=BODY, headers={"Authorization": "Bearer x"}).status_code == 401
    assert client.post(data=b"{", content_type="application/json").status_code == 400
    assert client.post(data=b"{", content_type="application/json").status_code == 429


def test_reading_is_not_limited(open_client):
    client = open_client(rate_limit_per_user="1 per minute", rate_limit_per_ip="1 per minute")
    assert [client.get("/generations").status_code for _ in range(3)] == [200] * 3


def test_forwarded_addresses_are_believed_only_from_trusted_proxies(open_client):
    def statuses(**settings):
        client = open_client(rate_limit_per_ip="1 per minute", **settings)
        headers = [{"X-Forwarded-For": f"203.0.113.{number}, 198.51.100.{number}"} for number in (1, 2)]
        return [client.post(json=BODY, headers=header).status_code for header in headers]

    assert statuses() == [200, 429]
    assert statuses(trusted_proxy_count=1) == [200, 200]


def test_an_ipv6_network_counts_as_one_address(open_client):
    client = open_client(rate_limit_per_ip="1 per minute", trusted_proxy_count=1)
    addresses = ("2001:db8:1:2::1", "2001:db8:1:2:ffff::2", "2001:db8:1:3::1", "::ffff:192.0.2.1", "::ffff:192.0.2.2")
    statuses = [client.post(json=BODY, headers={"X-Forwarded-For": address}).status_code for address in addresses]
    assert statuses == [200, 429, 200, 200, 200]


def test_another_store_can_count(open_client):
    client = open_client(rate_limit_per_user="1 per minute", rate_limit_storage_url="memory://")
    app = create_app(client.runtime)
    headers = {"Authorization": f"Bearer {client.token()}"}
    assert [app.test_client().post("/generations", json=BODY, headers=headers).status_code for _ in range(2)] == [
        200,
        429,
    ]


def test_simultaneous_requests_of_one_user_do_not_pass_the_limit(open_client):
    client = open_client(rate_limit_per_user="5 per minute")
    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(lambda _: client.post(json=BODY).status_code, range(12)))
    assert sorted(statuses) == [200] * 5 + [429] * 7


def test_browsers_elsewhere_are_refused_unless_they_are_named(open_client):
    preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    for origins, allowed in (((), None), (("https://app.example",), "https://app.example")):
        client = create_app(open_client(cors_origins=origins).runtime).test_client()
        response = client.options("/generations", headers=preflight)
        assert response.headers.get("Access-Control-Allow-Origin") == allowed
        response = client.post("/generations", headers=preflight)
        assert response.status_code == 401
        assert response.headers.get("Access-Control-Allow-Origin") == allowed


def test_it_is_alive_without_a_database_but_not_ready(open_client):
    app = create_app(open_client(database_url="postgresql://nobody@127.0.0.1:9/none", database_pool_size=1).runtime)
    assert app.test_client().get("/healthz").status_code == 200
    response = app.test_client().get("/readyz")
    assert response.status_code == 503
    assert response.json == {"error": "unavailable", "message": "The database cannot be reached."}


def test_it_is_not_ready_before_its_migrations(open_client, empty_database):
    app = create_app(open_client(database_url=empty_database).runtime)
    response = app.test_client().get("/readyz")
    assert response.status_code == 503
    assert "recto migrate" in response.json["message"]
    migrations.migrate(empty_database)
    assert app.test_client().get("/readyz").status_code == 200


def test_a_role_that_may_do_only_what_it_needs_is_enough(open_client, database, postgres):
    role = f"service_{uuid4().hex}"
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(f"create role {role} login noinherit")
        conn.execute(f"grant authenticated to {role}")
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
    for path in ("/", "/playground/app.js", "/docs"):
        with client.get(path) as response:
            assert response.status_code == 200
            policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


def test_the_documentation_loads_nothing_from_elsewhere(app):
    html = app.test_client().get("/docs").text
    assert re.findall(r'(?:src|href)="(?!/|#)[^"]*"', html) == []
    assert "createGeneration" in html
