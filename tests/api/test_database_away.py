"""While PostgreSQL is away callers are told that trying again makes sense; once it is back that is all it takes."""

import psycopg

TEXT = "The fox is an animal that lives in the forest. " * 30
BODY = {"source_text": TEXT}
DECK = "00000000-0000-4000-8000-00000000000d"
EVENTS = {"Accept": "text/event-stream"}
# What is sent, and the status when the database is there.
REQUESTS = [
    ("post", "/generations", {"json": BODY}, 200),
    ("post", "/generations", {"json": BODY, "headers": {"Idempotency-Key": "a"}}, 200),
    ("post", "/generations", {"json": BODY, "headers": EVENTS}, 200),
    ("post", "/api/sessions/ai", {"json": BODY}, 200),
    ("post", f"/decks/{DECK}/generation", {"json": BODY | {"count": 3}}, 202),
    ("get", "/generations", {}, 200),
    ("get", f"/ai/generations/{DECK}", {}, 404),
    ("get", f"/ai/generations/{DECK}/events", {}, 404),
    ("get", "/usage", {}, 200),
    ("delete", f"/ai/generations/{DECK}", {}, 404),
    ("get", "/v1/generations", {}, 200),
]


def test_a_database_that_is_away_is_a_503_until_it_is_back(open_images, own_postgres, capsys):
    client = open_images(database_url=own_postgres.url)
    assert client.get("/usage").status_code == 200
    pool = client.runtime.pool
    patience_s, pool.timeout, pool.reconnect_timeout = pool.timeout, 0.05, 0.05
    own_postgres.stop()
    for method, path, sent, _ in REQUESTS:
        refused = getattr(client, method)(path, **sent)
        assert refused.status_code == 503, path
        code = "UNAVAILABLE" if path.startswith("/v1") else "unavailable"
        assert refused.json == {"error": code, "message": "The service cannot do its work at the moment."}
        assert int(refused.headers["Retry-After"]) > 0

    log = "".join(capsys.readouterr())
    assert log.count("unforeseen_error") == log.count("couldn't get a connection") == len(REQUESTS)
    assert "fox" not in log

    own_postgres.start()
    pool.timeout = patience_s
    for method, path, sent, status in REQUESTS:
        assert getattr(client, method)(path, **sent).status_code == status, path


def test_a_database_that_takes_no_writes_is_a_503_to_who_writes(open_client, database):
    """As Supabase makes one whose disk is nearly full, and as a standby is."""
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(f"alter database {name} set default_transaction_read_only = on")
        client = open_client()
        for path in ("/generations", "/ai/generations"):
            refused = client.post(path, json=BODY)
            assert (refused.status_code, refused.json["error"]) == (503, "unavailable")
        assert client.get("/generations").status_code == 200
        conn.execute(f"alter database {name} reset default_transaction_read_only")


def test_a_connection_that_breaks_in_the_middle_is_a_503_and_leaves_the_key_free(client, capsys):
    client.query(
        "create function break_off() returns trigger language plpgsql security definer as"
        " $$ begin perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(60); end $$"
    )
    client.query("create trigger broken before insert on generation_jobs for each row execute function break_off()")
    key = {"Idempotency-Key": "a"}
    refused = client.post("/ai/generations", json=BODY, headers=key)
    assert (refused.status_code, refused.json["error"]) == (503, "unavailable")
    assert "AdminShutdown" in "".join(capsys.readouterr())
    client.query("drop trigger broken on generation_jobs")
    assert client.post("/ai/generations", json=BODY, headers=key).status_code == 202
