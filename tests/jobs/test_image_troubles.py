"""Pictures when something goes wrong in the middle: no file, debit or place is left over, and an operator reads why."""

import json

import pytest
from tests.api.test_images import PATH, deliver, finish, job, photo, start, upload
from tests.conftest import until
from tests.jobs.lossy_proxy import LossyProxy

from recto.db import claims, renders
from recto.jobs import images as image_jobs
from recto.jobs.images import delete_files
from recto.providers.outputs import OutputRefused
from recto.providers.replicate import Prediction
from recto.storage.failures import StorageUnavailable


def files(tmp_path):
    return [path for path in (tmp_path / "files").rglob("*") if path.is_file()]


def be_away(*_):
    raise StorageUnavailable("OSError")


def errors(client):
    return [log["error_code"] for log in client.rows("generation_error_logs")]


@pytest.mark.parametrize("end", ["its second output is refused", "it is canceled", "its user is forgotten"])
def test_a_picture_that_is_half_stored_when_its_job_ends_leaves_no_file(images, tmp_path, monkeypatch, end):
    created = start(images, prompt="[sandbox: two-outputs]").json
    outputs, fetched = images.runtime.images.outputs, []
    fetch = outputs.fetch

    def fetch_one(url):
        if fetched:
            raise OutputRefused("gone") if end == "its second output is refused" else StorageUnavailable("OSError")
        fetched.append(url)
        return fetch(url)

    monkeypatch.setattr(outputs, "fetch", fetch_one)
    finish(images, created["id"])
    assert len(files(tmp_path)) == 2
    if end == "it is canceled":
        assert images.patch(f"{PATH}/{created['id']}", json={"action": "cancel"}).status_code == 200
    elif end == "its user is forgotten":
        images.query(f"select recto.forget_user('{images.user_id}')")
    delete_files(images.runtime)
    assert files(tmp_path) == []


def test_a_job_that_is_canceled_before_its_inputs_are_stored_is_not_submitted(images, tmp_path):
    images.query(
        "create function cancel_it() returns trigger language plpgsql as $$ begin"
        " update generation_jobs set status = 'canceled', holder = null where id = new.job_id; return null; end $$;"
        " create trigger cancel_it after insert on generation_attempts for each row execute function cancel_it()"
    )
    created = upload(images, {"input1": photo()}, mode="redesign")
    assert (created.status_code, created.json["status"], created.json["predictionId"]) == (202, "canceled", None)
    assert files(tmp_path) == images.rows("usage_ledger") == []


def test_a_submission_whose_acknowledgement_is_lost_is_not_taken_for_a_canceled_one(open_images):
    direct = open_images()
    with LossyProxy(direct.runtime.settings.database_url) as proxy:
        client = open_images(direct.user_id, database_url=proxy.url)
        proxy.lose_after("request_id", "COMMIT")
        created = start(client)
        assert proxy.lost == 1
    assert created.status_code == 202
    assert direct.rows("usage_ledger") == []
    assert finish(direct, created.json["id"]) == ["stored"]
    assert len(direct.rows("usage_ledger")) == 1


@pytest.mark.parametrize("found", ["waiting", "given up"])
def test_a_submission_that_outlasts_its_lease_is_taken_back_or_not_debited(images, monkeypatch, found):
    replicate = images.runtime.images.replicate
    create = replicate.create

    def create_late(**asked):
        prediction = create(**asked)
        images.query("update generation_jobs set lease_until = now() - interval '1 s'")
        claims.recover_abandoned(images.runtime.pool)
        if found == "given up":
            assert images.work() == ["failed"]
        return prediction

    monkeypatch.setattr(replicate, "create", create_late)
    created = start(images)
    assert created.status_code == 202
    if found == "waiting":
        assert finish(images, created.json["id"]) == ["stored"]
    else:
        assert (created.json["status"], images.work()) == ("failed", [])
    assert len(images.rows("usage_ledger")) == (found == "waiting")


def test_a_webhook_that_comes_as_a_lost_submission_is_given_up_saves_it(images, monkeypatch):
    created = start(images).json
    images.query(
        "update generation_jobs set status = 'running', in_background = false, holder = gen_random_uuid(),"
        " prediction_id = null, prediction = null, lease_until = now() - interval '1 s'"
    )
    claims.recover_abandoned(images.runtime.pool)
    told = renders.told

    def told_before(pool, attempt):
        known = told(pool, attempt)
        output = f"{images.runtime.settings.replicate_base_url}/outputs/{created['predictionId']}/0.jpg"
        deliver(images, created["id"], created["predictionId"], outputs=[output])
        return known

    monkeypatch.setattr(renders, "told", told_before)
    assert images.work() == ["delayed"]
    assert images.work() == ["stored"]


def test_a_picture_that_kills_its_workers_ends_failed(images):
    created = start(images, prompt="[sandbox: never]").json
    deliver(images, created["id"], created["predictionId"], outputs=["http://x/"])
    for _ in range(10):
        assert images.claim()
        images.query("update generation_jobs set lease_until = now() - interval '1 s'")
        claims.recover_abandoned(images.runtime.pool)
    assert images.claim() is None
    assert (job(images)["status"], errors(images)) == ("failed", ["worker_lost"])
    assert images.rows("usage_ledger") == []


def test_a_picture_that_has_succeeded_is_stored_past_the_deadline_while_its_outputs_are_there(images, monkeypatch):
    created = start(images).json
    storage = images.runtime.images.storage
    with monkeypatch.context() as patched:
        patched.setattr(storage, "put", be_away)
        assert finish(images, created["id"]) == ["delayed"]
        images.query("update generation_jobs set created_at = created_at - interval '3601 s'")
        assert images.work() == ["delayed"]
        images.query("update generation_jobs set heard_at = heard_at - interval '3590 s'")
        assert images.work() == ["delayed"]
        assert _due_in_s(images) <= 10  # once more before the outputs are gone
    assert images.work() == ["stored"]


def test_what_cannot_be_stored_for_an_hour_fails(images, monkeypatch):
    created = start(images).json
    monkeypatch.setattr(images.runtime.images.storage, "put", be_away)
    assert finish(images, created["id"]) == ["delayed"]
    images.query("update generation_jobs set heard_at = heard_at - interval '3601 s'")
    assert images.work() == ["failed"]
    assert errors(images) == ["outputs_expired"]
    assert images.rows("usage_ledger") == []


def _due_in_s(client):
    (row,) = client.query("select extract(epoch from run_at - now())::float8 as s from generation_jobs")
    return row["s"]


def test_pauses_grow_with_the_time_that_it_has_failed_for_and_end_with_the_deadline(open_images, monkeypatch):
    client = open_images(render_deadline_s=600, replicate_base_url="http://127.0.0.1:9")
    monkeypatch.setattr(client.runtime.images.replicate, "_base_url", open_images().runtime.images.replicate._base_url)
    start(client, prompt="[sandbox: never]")
    monkeypatch.setattr(client.runtime.images.replicate, "_base_url", "http://127.0.0.1:9/v1")
    for failing_s, shortest, longest in ((0, 2, 5), (20, 9, 21), (40, 19, 41), (300, 29, 60)):
        client.query(f"update generation_jobs set heard_at = now() - interval '{failing_s} s'")
        assert client.work() == ["delayed"]
        assert shortest <= _due_in_s(client) <= longest
    client.query("update generation_jobs set created_at = now() - interval '597 s'")
    assert client.work() == ["delayed"]
    assert _due_in_s(client) <= 3
    client.query("update generation_jobs set created_at = now() - interval '600 s'")
    assert client.work() == ["failed"]
    assert errors(client) == ["render_deadline"]


def test_pauses_differ():
    assert len({image_jobs._pause_s(100) for _ in range(10)}) > 1


def test_a_picture_that_ends_while_it_is_given_up_is_stored(images, monkeypatch):
    created = start(images).json
    replicate = images.runtime.images.replicate
    found = replicate.find(created["predictionId"])
    monkeypatch.setattr(replicate, "find", lambda _: found)  # it had not ended a moment ago
    images.query("update generation_jobs set created_at = created_at - interval '601 s'")
    monkeypatch.setattr(replicate, "cancel", lambda _: _ended(replicate, created))
    assert images.work() == ["stored"]


def _ended(replicate, created):
    find = type(replicate).find
    return until(lambda: (now := find(replicate, created["predictionId"])).ended and now)


@pytest.mark.parametrize("by", ["webhook", "look"])
def test_an_operator_reads_why_a_prediction_failed_unless_it_repeats_the_prompt(images, monkeypatch, by):
    prompt = "[sandbox: fails] a fox who lectures on the Rosetta Stone"
    for said, kept in (
        ("Prediction failed: the model ran out of memory", "ran out of memory"),
        ("no such thing as a FOX who\nlectures on the Rosetta Stone\0", "withheld"),
    ):
        created = start(images, prompt=prompt).json
        if by == "webhook":
            deliver(images, created["id"], created["predictionId"], "failed", error=said)
            assert "error" in job(images)["prediction"]
        else:
            told = json.dumps({"id": created["predictionId"], "status": "failed", "error": said}).encode()
            monkeypatch.setattr(images.runtime.images.replicate, "find", lambda _, told=told: Prediction.read(told))
        assert images.work() == ["failed"]
        assert job(images)["prediction"] == {"status": "failed"}
        (log,) = images.rows("generation_error_logs")
        assert log["error_code"] == "upstream_failed"
        assert kept in log["error_message"]
        assert "lectures" not in str(log) + str(job(images))
        shown = images.get(f"{PATH}/{created['id']}").text
        assert "memory" not in shown
        images.delete(f"{PATH}/{created['id']}")
        images.query("delete from generation_error_logs")
