"""Who may read and write what, down to the last grant."""

from uuid import UUID, uuid4

import psycopg
import pytest

from recto.db import migrations
from recto.db.pool import as_service, as_user, as_worker, claims

TEXT = "The Rosetta Stone is a slab of granodiorite. It was found in July 1799 by French soldiers. " * 15
USERS_TABLES = {
    "ai_suggestions",
    "decks",
    "generation_attempts",
    "generation_error_logs",
    "generation_events",
    "generation_jobs",
    "generations",
    "render_variants",
    "renders",
    "usage_ledger",
}
WRITES = {
    "recto_service": {
        "public.ai_suggestions": {"INSERT", "UPDATE", "DELETE"},
        "public.decks": {"INSERT"},
        "public.generation_attempts": {"INSERT", "UPDATE"},
        "public.generation_error_logs": {"INSERT"},
        "public.generation_events": {"INSERT"},
        "public.generation_jobs": {"INSERT", "UPDATE"},
        "public.generations": {"INSERT", "UPDATE"},
        "public.render_variants": {"INSERT"},
        "public.renders": {"INSERT"},
        "public.usage_ledger": {"INSERT"},
        "recto.idempotency_keys": {"INSERT", "UPDATE", "DELETE"},
        "recto.rate_limits": {"INSERT", "UPDATE", "DELETE"},
    },
    "recto_worker": {
        "public.ai_suggestions": {"DELETE"},
        "public.generation_attempts": {"INSERT", "UPDATE"},
        "public.generation_error_logs": {"INSERT"},
        "public.generation_events": {"INSERT", "DELETE"},
        "public.generation_jobs": {"UPDATE"},
        "recto.alerts": {"UPDATE"},
        "recto.files_to_delete": {"DELETE"},
        "recto.idempotency_keys": {"DELETE"},
        "recto.untold_costs": {"UPDATE", "DELETE"},
    },
}
READS = {
    "authenticated": {f"public.{table}" for table in USERS_TABLES}
    | {"public.profiles", "recto.costs", "recto.images", "recto.jobs", "recto.synchronous_costs"},
    "recto_service": {f"public.{table}" for table in USERS_TABLES}
    | {"recto.idempotency_keys", "recto.images", "recto.jobs", "recto.migrations", "recto.rate_limits"},
    "recto_worker": {f"public.{table}" for table in USERS_TABLES}
    | {
        "recto.alerts",
        "recto.costs",
        "recto.files_to_delete",
        "recto.idempotency_keys",
        "recto.migrations",
        "recto.synchronous_costs",
        "recto.untold_costs",
    },
}
WRITES_UNREAD = {
    ("recto_service", "recto.synchronous_costs"): {"INSERT"},
    ("recto_service", "recto.untold_costs"): {"INSERT"},
}
EXECUTES = {
    "public": {"record_generation", "record_generation_error"},  # which check their caller themselves
    "recto_service": {
        "acting_user",
        "acting_users_price",
        "add_counts",
        "delete_image",
        "erase_jobs",
        "hear_of_prediction",
        "jobs_in_flight",
        "renew_leases",
        "without_texts",
    },
    "recto_worker": {"erase_jobs", "forget_user", "renew_leases", "tell_cost", "without_texts"},
}


@pytest.fixture
def supabase(empty_database):
    """A database with Supabase's roles and default privileges, migrated."""
    with psycopg.connect(empty_database, autocommit=True) as conn:
        for role in ("anon", "authenticated", "service_role"):
            conn.execute(
                f"do $$ begin create role {role} nologin noinherit; exception when duplicate_object then null; end $$"
            )
        for kind in ("tables", "sequences", "functions"):
            conn.execute(
                f"alter default privileges in schema public grant all on {kind} to anon, authenticated, service_role"
            )
    migrations.migrate(empty_database)
    return empty_database


def grants(url):
    query = """
        select grantee, table_schema || '.' || table_name, array_agg(privilege_type::text)
        from information_schema.role_table_grants
        where table_schema in ('public', 'recto') and grantee not in ('postgres') group by 1, 2
    """
    with psycopg.connect(url) as conn:
        return {(grantee, table): set(rights) for grantee, table, rights in conn.execute(query)}


def test_on_supabase_users_may_read_and_nobody_else_anything(supabase):
    expected = dict(WRITES_UNREAD)
    for role, tables in READS.items():
        for table in tables:
            expected[role, table] = {"SELECT"} | WRITES.get(role, {}).get(table, set())
    assert grants(supabase) == expected


def test_on_a_plain_postgresql_it_is_the_same(database):
    expected = {
        (role, table): {"SELECT"} | WRITES.get(role, {}).get(table, set())
        for role, tables in READS.items()
        for table in tables
    } | WRITES_UNREAD
    assert grants(database) == expected


def test_each_function_may_be_run_by_those_who_need_it(database):
    query = """
        select proname, coalesce(rolname, 'public') from pg_proc, lateral aclexplode(proacl) right_
        left join pg_roles on pg_roles.oid = right_.grantee
        where pronamespace = 'recto'::regnamespace and right_.grantee <> proowner
    """
    with psycopg.connect(database) as conn:
        found = {}
        for function, role in conn.execute(query):
            found.setdefault(role, set()).add(function)
        unset = conn.execute(
            "select proname from pg_proc where pronamespace = 'recto'::regnamespace and proacl is null"
        )
        assert unset.fetchall() == []
    assert found == EXECUTES


def test_every_table_of_users_has_its_policies(database):
    with psycopg.connect(database) as conn:
        policies = conn.execute(
            "select tablename, policyname, roles::text[], cmd, qual, with_check from pg_policies"
            " where schemaname = 'public'"
        ).fetchall()
        walled = conn.execute(
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
            " and relrowsecurity"
        ).fetchall()
    assert {name for (name,) in walled} == USERS_TABLES | {"profiles"}
    for table in USERS_TABLES:
        of_table = {policy: rest for name, policy, *rest in policies if name == table}
        assert set(of_table) == {"own_rows", "service", "worker"}
        assert of_table["own_rows"][:2] == [["authenticated"], "SELECT"]
        assert "auth.uid()" in of_table["own_rows"][2]
        assert of_table["service"][0] == ["recto_service"]
        assert "acting_user" in of_table["service"][2]
        assert of_table["service"][3] is None  # so that what is written obeys the same rule
        assert of_table["worker"] == [["recto_worker"], "ALL", "true", None]


@pytest.fixture
def two(client, open_client):
    """Two users with rows of their own in every table."""
    other = open_client()
    for each in (client, other):
        each.post(json={"source_text": f"{TEXT}\n[sandbox: http-402]"})
        each.post("/sessions/ai", json={"source_text": TEXT})
        each.post(f"/decks/{uuid4()}/generation", json={"topic": "Rome", "count": 3})
        each.work()
        each.add_render()
    return client, other


@pytest.mark.parametrize("table", [*sorted(USERS_TABLES), "recto.jobs"])
@pytest.mark.parametrize("acting", [as_user, as_service])
def test_a_query_that_forgets_its_user_still_sees_own_rows_only(two, table, acting):
    for client in two:
        with acting(client.runtime.pool, client.user_id) as conn:
            assert conn.execute(f"select distinct user_id from {table}").fetchall() == [(client.user_id,)]


@pytest.mark.parametrize("table", sorted(USERS_TABLES))
def test_the_worker_sees_everybody(two, table):
    with as_worker(two[0].runtime.pool) as conn:
        assert len(conn.execute(f"select distinct user_id from {table}").fetchall()) == 2


@pytest.mark.parametrize("table", sorted(USERS_TABLES))
def test_the_service_without_a_user_sees_nobody(two, table):
    with two[0].runtime.pool.connection() as conn, conn.transaction():
        conn.execute("select set_config('role', 'recto_service', true)")
        assert conn.execute(f"select count(*) from {table}").fetchone() == (0,)


@pytest.mark.parametrize(
    "statement",
    [
        "update generations set user_id = '{}'",
        "update generation_jobs set user_id = '{}'",
        "update ai_suggestions set user_id = '{}'",
        "insert into decks (id, user_id) values (gen_random_uuid(), '{}')",
        "insert into usage_ledger (user_id, job_id, kind) values ('{}', gen_random_uuid(), 'review')",
        "insert into generation_events (user_id, job_id, event) values ('{}', gen_random_uuid(), 'failed')",
    ],
)
def test_acting_for_one_user_the_service_writes_nothing_of_anothers(two, statement):
    mine, theirs = two
    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"),
        as_service(mine.runtime.pool, mine.user_id) as conn,
    ):
        conn.execute(statement.format(theirs.user_id))


@pytest.mark.parametrize(
    "call",
    [
        (
            "recto.record_generation(%s, %s, gen_random_uuid(), 'm', 1, repeat('a', 64), 1000, 1, '1', 1, 1, 1, false,"
            " null, '{}', null, '{}', null, null)"
        ),
        (
            "recto.record_generation_error(%s, %s, gen_random_uuid(), 'm', repeat('a', 64), 999, 'c', 'm', 1, 1, 1,"
            " false, '{}', '1')"
        ),
    ],
)
def test_only_the_service_records_and_only_for_the_user_of_the_claims(client, call):
    mine, theirs = client.user_id, uuid4()
    denied = psycopg.errors.InsufficientPrivilege
    with pytest.raises(denied, match="only the service"), as_user(client.runtime.pool, mine) as conn:
        conn.execute(f"select {call}", (claims(mine), mine))
    with pytest.raises(denied, match="row-level security"), client.runtime.pool.connection() as conn:
        conn.execute(f"select {call}", (claims(mine), theirs))


def test_what_a_web_process_may_do_to_all_jobs_is_renew_its_own_and_count(two):
    """Neither tells it, nor lets it change, anything of somebody else's."""
    client, _ = two
    client.post("/ai/generations", json={"source_text": TEXT})
    attempt = client.claim()
    before = client.rows("generation_jobs")
    with client.runtime.pool.connection() as conn, conn.transaction():
        conn.execute("select set_config('role', 'recto_service', true)")
        conn.execute("select recto.renew_leases(%s, %s, '1 hour')", (uuid4(), [attempt.job_id]))
        assert conn.execute("select recto.jobs_in_flight()").fetchone()
    assert client.rows("generation_jobs") == before


@pytest.mark.parametrize("statement", ["update usage_ledger set amount = 5", "delete from usage_ledger"])
@pytest.mark.parametrize("acting", ["service", "worker"])
def test_the_ledger_is_append_only(client, statement, acting):
    pool = client.runtime.pool
    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        as_service(pool, client.user_id) if acting == "service" else as_worker(pool) as conn,
    ):
        conn.execute(statement)


def test_acting_for_one_user_the_service_sees_no_other_ones_answers(two):
    for client in two:
        client.post("/sessions/ai", json={"source_text": TEXT}, headers={"Idempotency-Key": "a-key"})
    with as_service(two[0].runtime.pool, two[0].user_id) as conn:
        rows = conn.execute("select user_id from recto.idempotency_keys").fetchall()
    assert rows == [(two[0].user_id,)]


def test_without_row_level_security_users_still_read_their_own_records_only(two):
    """An app may have switched it off on tables that it shares."""
    client, other = two
    of_two = {str(client.user_id), str(other.user_id)}
    for table in USERS_TABLES:
        client.query(f"alter table {table} disable row level security")
    for mine in (client, other):
        pages = [mine.get(f"/{name}").json for name in ("generations", "generation-error-logs")]
        rows = pages[0]["generations"] + pages[1]["generation_error_logs"]
        assert {row["user_id"] for row in rows} == {str(mine.user_id)} < of_two
        jobs = mine.get("/ai/generations").json["generations"]
        theirs = client if mine is other else other
        assert {UUID(job["generation_id"]) for job in jobs} <= {
            row["id"] for row in mine.rows("generation_jobs") if row["user_id"] == mine.user_id
        }
        not_mine = next(row for row in mine.rows("generations") if row["user_id"] == theirs.user_id)
        assert mine.get(f"/generations/{not_mine['id']}").status_code == 404
        report = {"accepted_unedited_count": 1, "accepted_edited_count": 0}
        assert mine.patch(f"/generations/{not_mine['id']}", json=report).status_code == 404
        assert mine.get(f"/ai/generations/{not_mine['job_id']}").status_code == 404
        assert mine.get(f"/ai/generations/{not_mine['job_id']}/suggestions").status_code == 404
        assert mine.delete(f"/ai/generations/{not_mine['job_id']}").status_code == 404
    assert sum(of_model["generations"] for of_model in client.get("/stats").json["models"]) == 2
    assert client.get("/usage").json["used"] == 2
