"""What a process holds is built from its settings and times, and is gone when it ends."""

import json
import threading
from contextlib import closing
from threading import Event
from uuid import uuid4

import psycopg
import pytest
import responses

from recto import tokens
from recto.db import commit
from recto.db.commit import Delayed
from recto.errors import Unauthorized, UpstreamError
from recto.runtime import Runtime, WorkerRuntime, bounds
from recto.times import Times

from .conftest import SECRET, until


def test_a_process_that_ends_writes_what_is_late_and_leaves_nothing_running(settings, monkeypatch):
    runtime, back, written = Runtime.open(settings, Times(deadline_s=5, patience_s=-1)), Event(), Event()
    monkeypatch.setattr(commit, "_PAUSE_S", 3600)  # so that nothing but the end makes it try again
    tries = []

    def write():
        tries.append(1)
        if not back.is_set():
            raise psycopg.OperationalError
        with runtime.pool.connection() as conn:
            conn.execute("select 1")
        written.set()

    with pytest.raises(Delayed):
        runtime.commits.write(write, figures={})
    with runtime.leases.renewed(uuid4()), runtime.changes.of(uuid4(), uuid4()) as changed:
        assert changed.wait(20)
    until(lambda: len(tries) == 2)
    back.set()
    runtime.close()
    assert written.is_set()
    assert not {"late commits", "leases", "listen recto_generation_jobs"} & {
        thread.name for thread in threading.enumerate()
    }
    assert runtime.pool.closed


def test_each_process_has_its_own_patience_and_pool(settings):
    settings = settings.model_copy(update={"database_pool_size": 3})
    times = Times(deadline_s=5, patience_s=1, worker_patience_s=2, lease_s=30)
    web, worker = Runtime.open(settings, times), WorkerRuntime.open_worker(settings, times, pool_size=7)
    with closing(web), closing(worker):
        for runtime, patience_s, size in ((web, 1, 3), (worker, 2, 7)):
            assert runtime.commits._patience_s == patience_s
            assert (runtime.leases.lease_s, runtime.leases._renew_every_s) == (30, times.renew_every_s)
            assert runtime.pool.max_size == size
    with closing(Runtime.open(settings)) as usual:
        assert usual.times == Times.of(settings.openrouter_timeout_ms)


@responses.activate
@pytest.mark.parametrize(("opened_as", "calls"), [("web", 2), ("worker", 1)])
def test_the_provider_is_asked_as_the_settings_say(settings, opened_as, calls):
    settings = settings.model_copy(
        update={
            "openrouter_max_tokens": 77,
            "openrouter_fallback_models": ("b/model",),
            "max_proposals": 3,
            "max_front_characters": 40,
            "max_back_characters": 50,
        }
    )
    responses.add(responses.POST, f"{settings.openrouter_base_url}/chat/completions", status=503)
    times = Times(deadline_s=5)
    runtime = (
        Runtime.open(settings, times) if opened_as == "web" else WorkerRuntime.open_worker(settings, times, pool_size=1)
    )
    with closing(runtime), pytest.raises(UpstreamError):
        runtime.openrouter.complete(model="a/model", system="", user="", schema_name="cards", schema={})
    assert len(responses.calls) == calls  # a job has attempts of its own
    request = responses.calls[0].request
    assert request.headers["Authorization"] == f"Bearer {settings.openrouter_api_key.get_secret_value()}"
    assert runtime.openrouter.timeout_s == settings.openrouter_timeout_ms / 1000 == 5
    body = json.loads(request.body)
    assert (body["max_tokens"], body["models"]) == (77, ["a/model", "b/model"])
    assert (bounds(settings).proposals, bounds(settings).front, bounds(settings).back) == (3, 40, 50)
    assert runtime.bounds == bounds(settings)


def test_a_token_must_be_of_the_configured_project(settings):
    settings = settings.model_copy(update={"supabase_url": "https://project.example"})
    user_id = uuid4()
    with closing(Runtime.open(settings)) as runtime:
        ours = tokens.issue(SECRET, user_id, issuer="https://project.example/auth/v1")
        assert runtime.verifier.verify(ours).id == user_id
        with pytest.raises(Unauthorized):
            runtime.verifier.verify(tokens.issue(SECRET, user_id, issuer="https://other.example/auth/v1"))
