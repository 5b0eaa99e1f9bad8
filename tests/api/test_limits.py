"""Who may ask how often, and what counts."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

BODY = {"source_text": "The fox is an animal that lives in the forest. " * 30}
KEY = {"Idempotency-Key": "a-key"}


def key(name):
    return {"Idempotency-Key": name}


def hits(client, kind):
    """How often a user or an address is counted in the database."""
    return client.query(f"select hits, key from recto.rate_limits where key like 'LIMITER/{kind}/%' order by key")


def statuses(client, *headers, body=BODY):
    return [client.post(json=body, headers=given).status_code for given in headers]


def from_address(address):
    return {"X-Forwarded-For": address}


@pytest.fixture(params=["database", "valkey"])
def store(request):
    """The setting of each store."""
    return None if request.param == "database" else request.getfixturevalue("empty_valkey").url


def test_the_limit_per_user_is_told_and_kept(open_client):
    client = open_client(rate_limit_per_user="2 per 5 minutes", rate_limit_per_ip="30 per 5 minutes")
    first = client.post(json=BODY)
    assert first.headers["RateLimit-Policy"] == '"user";q=2;w=300, "ip";q=30;w=300'
    assert re.fullmatch(r'"user";r=1;t=(299|300), "ip";r=29;t=(299|300)', first.headers["RateLimit"])
    assert client.post(json=BODY).status_code == 200
    refused = client.post(json=BODY)
    assert refused.status_code == 429
    assert refused.json["error"] == "rate_limited"
    assert 290 < int(refused.headers["Retry-After"]) <= 300
    assert re.fullmatch(r'"user";r=0;t=\d+, "ip";r=28;t=\d+', refused.headers["RateLimit"])
    assert len(client.rows("generations")) == 2
    assert open_client(rate_limit_per_user="2 per 5 minutes").post(json=BODY).status_code == 200


@pytest.mark.parametrize("headers", [{}, KEY], ids=["without a key", "with a key"])
def test_all_rules_of_a_limit_count(open_client, headers, store):
    rules = {"rate_limit_per_user": "2 per minute; 3 per day", "rate_limit_per_ip": "50 per hour; 60 per day"}
    client = open_client(**rules, rate_limit_storage_url=store)
    first = client.post(json=BODY, headers=headers)
    assert (
        first.headers["RateLimit-Policy"]
        == '"user";q=2;w=60, "user-2";q=3;w=86400, "ip";q=50;w=3600, "ip-2";q=60;w=86400'
    )
    left = re.findall(r'"([a-z0-9-]+)";r=(\d+);t=\d+', first.headers["RateLimit"])
    assert left == [("user", "1"), ("user-2", "2"), ("ip", "49"), ("ip-2", "59")]


def test_the_longer_rule_holds_when_the_shorter_has_ended(open_client):
    client = open_client(rate_limit_per_user="2 per minute; 3 per day")
    assert statuses(client, {}, {}, {}) == [200, 200, 429]
    client.query("update recto.rate_limits set expires_at = now() where key like 'LIMITER/user/%/minute'")
    refused = client.post(json=BODY)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 60  # the longest of the waits


def test_the_limit_per_address_counts_all_of_its_users(open_client):
    limits = {"rate_limit_per_user": "10 per minute", "rate_limit_per_ip": "2 per minute"}
    assert [open_client(**limits).post(json=BODY).status_code for _ in range(3)] == [200, 200, 429]


def test_each_kind_of_generation_has_a_users_limit_of_its_own(open_client):
    client = open_client(rate_limit_per_user="1 per minute")
    for headers in ({}, KEY):
        assert [client.post(path, json=BODY, headers=headers).status_code for path in ("/generations",) * 2] == [
            429 if headers else 200,
            429,
        ]
    assert client.post("/sessions/ai", json=BODY).status_code == 200
    assert client.post("/api/sessions/ai", json=BODY).status_code == 429


def test_the_limits_come_after_the_token_and_before_the_body(open_client):
    client = open_client(rate_limit_per_user="1 per minute")
    assert client.post(json=BODY, headers={"Authorization": "Bearer x"}).status_code == 401
    assert client.post(data=b"{", content_type="application/json").status_code == 400
    assert client.post(data=b"{", content_type="application/json").status_code == 429


def test_reading_is_not_limited(open_client):
    client = open_client(rate_limit_per_user="1 per minute", rate_limit_per_ip="1 per minute")
    assert [client.get("/generations").status_code for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("headers", [{}, KEY], ids=["without a key", "with a key"])
@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/generations", {"source_text": "short"}, 400),
        ("/sessions/ai/00000000-0000-4000-8000-00000000000d/retry", None, 404),
    ],
)
def test_what_was_refused_gives_the_address_its_hit_back_but_not_the_user(
    open_client, path, body, status, headers, store
):
    rules = {"rate_limit_per_user": "3 per minute", "rate_limit_per_ip": "2 per minute; 2 per hour"}
    client = open_client(**rules, rate_limit_storage_url=store)
    app = client.app
    refused = [
        app.test_client().post(path, json=body, headers={"Authorization": f"Bearer {client.token()}"} | headers)
        for _ in range(4)
    ]
    assert [answer.status_code for answer in refused] == [status] * 3 + [429]
    assert [re.findall(r"r=(\d)", answer.headers["RateLimit"]) for answer in refused] == [
        ["2", "2", "2"],
        ["1", "2", "2"],
        ["0", "2", "2"],
        ["0", "2", "2"],
    ]
    other = open_client()
    headers = {"Authorization": f"Bearer {other.token()}"}
    assert [app.test_client().post("/generations", json=BODY, headers=headers).status_code for _ in range(3)] == [
        200,
        200,
        429,
    ]


def test_a_failure_of_the_provider_gives_nothing_back(open_client):
    client = open_client(rate_limit_per_ip="1 per minute")
    failing = {"source_text": BODY["source_text"] + "\n[sandbox: http-402]"}
    assert statuses(client, {}, {}, body=failing) == [502, 429]


def test_a_window_of_a_valkey_that_has_ended_is_given_nothing_back(open_client, empty_valkey):
    client = open_client(rate_limit_per_ip="1 per minute", rate_limit_storage_url=empty_valkey.url)
    storage = client.app.extensions["recto_limiter"].storage
    ((_, ends),) = storage.hit([("key", 60)])
    storage.give_back("key", ends - 120)
    assert storage.look(["key"])[0][0] == 1
    storage.give_back("key", ends)
    assert storage.look(["key"])[0][0] == 0


def test_who_is_over_a_limit_gets_no_replay_and_no_body_read(open_client, store):
    client = open_client(rate_limit_per_user="2 per minute", rate_limit_storage_url=store)
    assert statuses(client, key("a"), key("a"), key("a"), key("b")) == [200] * 4
    refused = client.post(json=BODY, headers=key("a"))
    assert refused.status_code == 429
    assert 50 < int(refused.headers["Retry-After"]) <= 60
    assert client.post(data=b"\xff", headers=key("c")).status_code == 429
    assert [row["key"] for row in client.query("select key from recto.idempotency_keys order by key")] == ["a", "b"]


def test_a_replay_counts_against_nothing(open_client, store):
    client = open_client(
        rate_limit_per_user="2 per minute", rate_limit_per_ip="9 per minute", rate_limit_storage_url=store
    )
    client.post(json=BODY, headers=KEY)
    for _ in range(3):
        replay = client.post(json=BODY, headers=KEY)
        assert re.findall(r"r=(\d)", replay.headers["RateLimit"]) == ["1", "8"]
    reused = client.post(json={"source_text": BODY["source_text"] + "More."}, headers=KEY)
    assert reused.status_code == 422
    assert re.findall(r"r=(\d)", reused.headers["RateLimit"]) == ["1", "8"]


def test_before_the_first_hit_the_whole_limit_is_told(open_client, store, valkey_server):
    rules = {"rate_limit_per_user": "2 per minute", "rate_limit_per_ip": "9 per 2 minutes"}
    client = open_client(**rules, rate_limit_storage_url=store)
    client.post(json=BODY, headers=KEY)
    client.query("update recto.rate_limits set expires_at = now()")
    valkey_server.client.flushall()
    assert client.post(json=BODY, headers=KEY).headers["RateLimit"] == '"user";r=2;t=60, "ip";r=9;t=120'


def test_keyed_requests_at_once_do_not_pass_the_limit(open_client):
    client = open_client(rate_limit_per_user="5 per minute", rate_limit_per_ip="8 per minute")
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda name: client.post(json=BODY, headers=key(str(name))).status_code, range(12)))
    assert sorted(answers) == [200] * 5 + [429] * 7
    assert len(client.query("select * from recto.idempotency_keys")) == 5  # a limited request leaves its key free
    assert [row["hits"] for row in hits(client, "ip")] == [5]


def test_how_often_a_request_goes_to_the_database(open_client):
    client = open_client(rate_limit_per_user="2 per minute")

    def visits(status, **headers):
        before = client.runtime.pool.get_stats().get("requests_num", 0)
        assert client.post(json=BODY, headers=headers).status_code == status
        return client.runtime.pool.get_stats().get("requests_num", 0) - before

    assert visits(200) == 2  # count; the record
    assert visits(200, **KEY) == 4  # look; take the key and count; the record; the answer
    assert visits(429, **KEY) == 1  # look
    assert visits(429) == 2  # count; give back


def test_forwarded_addresses_are_believed_only_from_trusted_proxies(open_client):
    def answers(**settings):
        client = open_client(rate_limit_per_ip="1 per minute", **settings)
        return statuses(client, *(from_address(f"203.0.113.{n}, 198.51.100.{n}") for n in (1, 2)))

    assert answers() == [200, 429]
    assert answers(trusted_proxy_count=1) == [200, 200]


@pytest.mark.parametrize(
    "others",
    [
        ["192.0.2.1:4711", "192.0.2.1:4712", "::ffff:192.0.2.1", "[::ffff:192.0.2.1]:80", "::ffff:c000:201"],
        ["2001:db8:1:2::1", "[2001:db8:1:2::2]:443", "[2001:db8:1:2::3]", "2001:DB8:1:2:ffff::4"],
        ["unknown", "_hidden", "x" * 4000, "[", "[]:1", "a:b", "1.2.3.4.5", "192.0.2.999"],
    ],
    ids=["IPv4", "IPv6", "none"],
)
def test_an_address_counts_as_one_however_a_proxy_writes_it(open_client, others):
    client = open_client(rate_limit_per_ip="1 per minute", trusted_proxy_count=1)
    plain = {"192.0.2.1:4711": "192.0.2.1"}.get(others[0], others[0])
    assert statuses(client, *map(from_address, [plain, *others])) == [200] + [429] * len(others)
    (row,) = hits(client, "ip")
    assert len(row["key"]) < 100


def test_addresses_that_differ_count_apart(open_client):
    client = open_client(rate_limit_per_ip="1 per minute", trusted_proxy_count=1)
    addresses = ["192.0.2.1", "192.0.2.2", "2001:db8:1:2::", "2001:db8:1:3::", "::ffff:192.0.2.3", "::1", "unknown"]
    assert statuses(client, *map(from_address, addresses)) == [200] * 7


def test_a_valkey_can_count(open_client, empty_valkey):
    client = open_client(rate_limit_per_user="1 per minute", rate_limit_storage_url=empty_valkey.url)
    assert statuses(client, {}, {}) == [200, 429]
    assert client.query("select * from recto.rate_limits") == []
    keys = empty_valkey.client.keys()
    assert len(keys) == 2
    assert all(key.startswith(b"recto:") and 0 < empty_valkey.client.ttl(key) <= 60 for key in keys)


def test_nobody_waits_for_a_valkey_that_does_not_answer(open_client, empty_valkey, stopped_after_a_minute):
    client = open_client(rate_limit_storage_url=empty_valkey.url)
    with empty_valkey.frozen(), ThreadPoolExecutor(40) as threads:
        answers = list(threads.map(lambda n: client.post(json=BODY, headers=key(str(n)) if n % 2 else {}), range(40)))
    assert {(answer.status_code, answer.json["error"]) for answer in answers} == {(503, "unavailable")}
    assert client.post(json=BODY).status_code == 200


def test_simultaneous_requests_of_one_user_do_not_pass_the_limit(open_client, store):
    client = open_client(rate_limit_per_user="5 per minute", rate_limit_storage_url=store)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: client.post(json=BODY).status_code, range(12)))
    assert sorted(answers) == [200] * 5 + [429] * 7
