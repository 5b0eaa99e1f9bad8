"""Pictures: what each door answers, what is reserved, debited and stored, and whom a webhook may convince."""

import json
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from time import time
from uuid import UUID, uuid4

import pytest
import requests
from PIL import Image
from tests.conftest import until

from recto.db import claims, erasure
from recto.jobs.images import delete_files
from recto.providers.standard_webhooks import sign
from recto.sandbox.predictions import SIGNING_SECRET

PATH = "/v1/generations"
WISH = {"mode": "imagine", "prompt": "a fox"}


def photo(kind="JPEG", **options):
    data = BytesIO()
    Image.new("RGB", (60, 40), "red").save(data, kind, **options)
    return data.getvalue()


def start(client, **fields):
    return client.post(PATH, json=WISH | fields)


def upload(client, files, **fields):
    form = requests.Request("POST", "http://recto.test/", data=fields, files=files or {"none": (None, "")}).prepare()
    return client.post(PATH, data=form.body, content_type=form.headers["Content-Type"])


def deliver(client, job_id, prediction_id, status="succeeded", outputs=(), secret=SIGNING_SECRET, **changes):
    told = {"id": prediction_id, "status": status, "output": list(outputs), "error": changes.get("error")}
    body = json.dumps(told).encode()
    now, message_id = int(time()) - changes.get("age_s", 0), uuid4().hex
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
        "webhook-signature": sign(secret, message_id, now, body),
    }
    return client.app.test_client().post(
        f"/v1/webhooks/replicate?job={job_id}", data=changes.get("body", body), headers=headers
    )


def finish(client, job_id):
    """Let the provider end, and a worker bring the picture home."""
    prediction_id = client.get(f"{PATH}/{job_id}").json["predictionId"]
    url = client.runtime.settings.replicate_base_url
    address = f"{url}/v1/predictions/{prediction_id}"
    ended = until(
        lambda: (
            (now := requests.get(address, headers={"Authorization": "Bearer x"}, timeout=30).json())["completed_at"]
            and now
        )
    )
    output = ended["output"] if isinstance(ended["output"], list) else [ended["output"]]
    deliver(client, job_id, prediction_id, ended["status"], [url for url in output if url])
    return client.work()


def job(client):
    (row,) = client.query("select * from generation_jobs where kind = 'image'")
    return row


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_picture_is_asked_for_made_stored_and_shown(images, prefix):
    created = images.post(f"{prefix}{PATH}", json=WISH | {"style": "woodcut", "roomType": ""})
    assert created.status_code == 202
    assert created.headers["Location"] == f"{prefix}{PATH}/{created.json['id']}"
    assert created.json == {
        "id": created.json["id"],
        "predictionId": created.json["predictionId"],
        "status": "starting",
        "settings": {"style": "woodcut"},
        "createdAt": created.json["createdAt"],
    }
    assert finish(images, created.json["id"]) == ["stored"]
    shown = images.get(f"{prefix}{PATH}/{created.json['id']}").json
    (variant,) = shown["variants"]
    assert (shown["status"], shown["mode"], shown["error"], variant["index"]) == ("succeeded", "imagine", None, 0)
    assert shown["completedAt"]
    for url in (variant["url"], variant["thumbUrl"]):
        answer = images.app.test_client().get(url.removeprefix("http://127.0.0.1:9"))
        assert (answer.status_code, answer.mimetype) == (200, "image/jpeg")
        assert "immutable" in answer.headers["Cache-Control"]
        assert Image.open(BytesIO(answer.data)).format == "JPEG"
    assert len(images.rows("usage_ledger")) == 1
    assert "fox" not in str(job(images))


def test_off_the_routes_are_not_there(client):
    for method, path in (
        ("post", PATH),
        ("get", PATH),
        ("get", f"{PATH}/{uuid4()}"),
        ("post", "/v1/webhooks/replicate"),
    ):
        answer = getattr(client, method)(path)
        assert (answer.status_code, answer.json["error"]) == (404, "NOT_FOUND")
    assert "images" not in {name for name, value in client.get("/usage").json.items() if value}


@pytest.mark.parametrize(
    ("fields", "files", "word"),
    [
        ({"mode": "paint"}, {}, "mode"),
        ({}, {}, "mode"),
        ({"mode": "redesign"}, {}, "input1"),
        ({"mode": "compose", "prompt": "x"}, {"input1": photo()}, "input2"),
        ({"mode": "compose"}, {"input1": photo(), "input2": photo()}, "prompt"),
        ({"mode": "imagine", "prompt": "x" * 501}, {}, "prompt"),
        ({"mode": "imagine", "prompt": "nsfw"}, {}, "prompt"),
        ({"mode": "imagine", "style": "x" * 101}, {}, "style"),
        ({"mode": "illustrate", "front": "x"}, {}, "front and back"),
        ({"mode": "redesign"}, {"input1": b"<html>"}, "JPEG, PNG or WebP"),
        ({"mode": "redesign"}, {"input1": b""}, "input1"),
        ({"mode": "redesign"}, {"input1": photo("GIF")}, "JPEG, PNG or WebP"),
        ({"mode": "redesign"}, {"input1": photo() + bytes(15 * 2**20)}, "15 MiB"),
        ({"mode": "imagine", "idempotencyKey": "two words"}, {}, "idempotencyKey"),
    ],
)
def test_what_breaks_a_rule_is_refused_and_leaves_nothing(images, fields, files, word):
    refused = upload(images, files, **fields)
    assert (refused.status_code, refused.json["error"]) == (400, "VALIDATION_ERROR")
    assert word in refused.json["message"]
    assert images.query("select * from generation_jobs") == []


def test_too_large_a_body_and_another_type_are_refused_in_capitals(images):
    large = upload(images, {"input1": bytes(32 * 2**20)}, mode="redesign")
    assert (large.status_code, large.json["error"]) == (413, "INVALID_REQUEST")
    other = images.post(PATH, data="x", content_type="text/plain")
    assert (other.status_code, other.json["error"]) == (415, "INVALID_REQUEST")
    assert images.app.test_client().post(PATH).json["error"] == "UNAUTHORIZED"
    assert images.patch(PATH).json["error"] == "METHOD_NOT_ALLOWED"


def test_an_upload_is_written_anew_signed_and_deleted_once_the_job_has_ended(images, tmp_path):
    created = upload(images, {"input1": photo(comment=b"at home")}, mode="redesign", roomType="kitchen")
    assert created.status_code == 202, created.json
    (key,) = job(images)["payload"]["inputs"]
    stored = tmp_path / "files" / key
    assert key.startswith(f"private/{images.user_id}/inputs/")
    assert b"at home" not in stored.read_bytes()
    address = images.runtime.images.storage.signed_url(key, seconds=300).removeprefix("http://127.0.0.1:9")
    anybody = images.app.test_client()
    assert anybody.get(address).data == stored.read_bytes()
    for bad in (
        f"/files/{key}",
        address.replace("expires=", "expires=1"),
        address[:-1] + "x",
        address.replace("/private/", "/private/../"),
    ):
        refused = anybody.get(bad)
        assert refused.status_code in (403, 404)
        assert photo()[:20] not in refused.data
    assert anybody.get(f"/files/{key}").status_code == 403
    assert finish(images, created.json["id"]) == ["stored"]
    delete_files(images.runtime)
    assert not stored.exists()


def test_a_user_has_one_in_flight(images):
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: start(images), range(20)))
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 19
    assert {answer.json["error"] for answer in answers if answer.status_code == 409} == {"TOO_MANY_INFLIGHT"}
    (created,) = [answer for answer in answers if answer.status_code == 202]
    finish(images, created.json["id"])
    assert start(images).status_code == 202


def test_the_plans_month_is_kept_and_texts_have_their_own(open_images, tmp_path):
    plans = tmp_path / "plans.toml"
    plans.write_text("[plans.free]\nmonthly_generations = 1\n[plans.pro]\nmonthly_generations = 2\nprice_ids = ['p']\n")
    client = open_images(plans_file=plans, quota_generations_per_month=1)
    assert finish(client, start(client).json["id"]) == ["stored"]
    refused = start(client)
    assert (refused.status_code, refused.json["error"]) == (402, "LIMIT_EXCEEDED")
    assert refused.json["resetsAt"] == client.get("/usage").json["resets_at"]
    told = client.get("/usage").json
    assert (told["used"], told["limit"], told["images"]["used"], told["images"]["limit"]) == (0, 1, 1, 1)
    client.query(f"insert into profiles (id, price_id) values ('{client.user_id}', 'p')")
    assert start(client).status_code == 202
    assert client.get("/usage").json["images"]["reserved"] == 1


@pytest.mark.parametrize("broken", ["alter table profiles drop column price_id", "drop table profiles"])
def test_without_a_price_that_can_be_read_the_plan_is_free(images, broken):
    images.query(broken)
    assert images.get("/usage").json["images"]["limit"] == 20


@pytest.mark.parametrize("in_header", [True, False])
def test_a_key_means_one_job_and_one_debit(images, in_header):
    def ask(**fields):
        if in_header:
            return images.post(PATH, json=WISH | fields, headers={"Idempotency-Key": "k"})
        return start(images, idempotencyKey="k", **fields)

    first = ask()
    assert ask().json["id"] == first.json["id"]
    reused = ask(prompt="a hen")
    assert (reused.status_code, reused.json["error"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    finish(images, first.json["id"])
    again = ask()
    assert (again.status_code, again.json["id"]) == (202, first.json["id"])
    assert len(images.rows("usage_ledger")) == 1
    both = images.post(PATH, json=WISH | {"idempotencyKey": "a"}, headers={"Idempotency-Key": "b"})
    assert (both.status_code, both.json["error"]) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("http-402", "upstream_http_error_402"),
        ("http-429", "upstream_rate_limited"),
        ("http-500", "upstream_http_error_500"),
        ("no-prediction", "upstream_connection_error"),
        ("silent", "upstream_timeout"),
    ],
)
def test_a_provider_that_does_not_take_it_is_a_502_costs_nothing_and_frees_key_and_place(open_images, fault, code):
    client = open_images(replicate_timeout_ms=500)
    refused = start(client, prompt=f"[sandbox: {fault}]", idempotencyKey="k")
    assert (refused.status_code, refused.json["error"]) == (502, "UPSTREAM_ERROR")
    (log,) = client.rows("generation_error_logs")
    assert (log["error_code"], log["is_image"]) == (code, True)
    assert client.rows("usage_ledger") == []
    assert client.get("/generation-error-logs").json["generation_error_logs"] == []
    assert start(client, idempotencyKey="k").status_code == 202


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("fails", "upstream_failed"),
        ("flagged", "upstream_failed"),
        ("no-output", "upstream_no_output"),
        ("output-gone", "upstream_output_refused"),
        ("output-html", "upstream_output_refused"),
        ("output-huge", "upstream_output_refused"),
        ("output-elsewhere", "upstream_output_refused"),
        ("output-redirect", "upstream_output_refused"),
    ],
)
def test_a_picture_that_does_not_come_fails_with_a_code_and_costs_nothing(images, fault, code):
    created = start(images, prompt=f"[sandbox: {fault}]")
    assert finish(images, created.json["id"]) == ["failed"]
    shown = images.get(f"{PATH}/{created.json['id']}").json
    assert (shown["status"], shown["error"]["error"], shown["variants"]) == ("failed", "UPSTREAM_ERROR", [])
    assert [log["error_code"] for log in images.rows("generation_error_logs")] == [code]
    assert images.rows("usage_ledger") == []


def test_a_list_of_outputs_is_stored_in_its_order(images):
    created = start(images, prompt="[sandbox: two-outputs]")
    assert finish(images, created.json["id"]) == ["stored"]
    variants = images.get(f"{PATH}/{created.json['id']}").json["variants"]
    assert [variant["index"] for variant in variants] == [0, 1]
    assert len({variant["renderId"] for variant in variants}) == 1


def test_canceling_gives_the_place_back_and_counts_and_the_end_changes_nothing(images):
    created = start(images, prompt="[sandbox: never]").json
    canceled = images.patch(f"{PATH}/{created['id']}", json={"action": "cancel"})
    assert (canceled.status_code, canceled.json["status"]) == (200, "canceled")
    url = f"{images.runtime.settings.replicate_base_url}/v1/predictions/{created['predictionId']}"
    assert requests.get(url, headers={"Authorization": "Bearer x"}, timeout=30).json()["status"] == "canceled"
    assert len(images.rows("usage_ledger")) == 1
    assert deliver(images, created["id"], created["predictionId"], "succeeded", ["http://x/"]).status_code == 200
    assert images.work() == []
    assert images.get(f"{PATH}/{created['id']}").json["status"] == "canceled"
    again = images.patch(f"{PATH}/{created['id']}", json={"action": "cancel"})
    assert (again.status_code, again.json["error"]) == (400, "VALIDATION_ERROR")
    assert start(images).status_code == 202


def test_deleting_takes_files_and_row_and_leaves_the_debit(images, tmp_path):
    created = start(images).json
    early = images.delete(f"{PATH}/{created['id']}")
    assert (early.status_code, early.json["error"]) == (400, "VALIDATION_ERROR")
    finish(images, created["id"])
    assert len(list((tmp_path / "files").rglob("*.jpg"))) == 2
    assert images.delete(f"{PATH}/{created['id']}").status_code == 204
    assert images.get(f"{PATH}/{created['id']}").status_code == 404
    assert images.delete(f"{PATH}/{created['id']}").status_code == 404
    delete_files(images.runtime)
    assert list((tmp_path / "files").rglob("*.jpg")) == []
    assert images.query("select * from renders") == images.query("select * from render_variants") == []
    assert len(images.rows("usage_ledger")) == 1


def test_what_is_anothers_is_not_there(images, open_images):
    created = start(images).json
    other = open_images()
    for answer in (
        other.get(f"{PATH}/{created['id']}"),
        other.patch(f"{PATH}/{created['id']}", json={"action": "cancel"}),
        other.delete(f"{PATH}/{created['id']}"),
        images.get(f"{PATH}/{uuid4()}"),
    ):
        assert (answer.status_code, answer.json["error"]) == (404, "NOT_FOUND")
    assert other.get(PATH).json == {"generations": [], "nextCursor": None}
    assert images.get(f"{PATH}/x").status_code == 400


def test_the_list_is_newest_first_in_pages(images):
    ids = []
    for _ in range(3):
        created = start(images).json
        images.patch(f"{PATH}/{created['id']}", json={"action": "cancel"})
        ids.append(created["id"])
    first = images.get(f"{PATH}?limit=2").json
    second = images.get(f"{PATH}?limit=2&cursor={first['nextCursor']}").json
    assert [one["id"] for one in first["generations"] + second["generations"]] == ids[::-1]
    assert second["nextCursor"] is None
    assert images.get("/ai/generations").json["generations"] == []


@pytest.mark.parametrize(
    "change", [{"secret": "whsec_" + "Zm9yZ2Vk" * 4}, {"age_s": 600}, {"age_s": -600}, {"body": b'{"id": "x"}'}]
)
def test_a_webhook_that_is_forged_or_stale_changes_nothing(images, change):
    created = start(images).json
    before = job(images)
    refused = deliver(images, created["id"], created["predictionId"], outputs=["http://x/"], **change)
    assert (refused.status_code, refused.json["error"]) == (401, "UNAUTHORIZED")
    assert job(images) == before


def test_a_webhook_for_another_job_or_prediction_changes_nothing(images, open_images):
    mine = start(images).json
    other = open_images()
    theirs = start(other).json
    before = images.query("select * from generation_jobs order by id")
    for job_id, prediction_id in (
        (mine["id"], theirs["predictionId"]),
        (mine["id"], "unknown"),
        (uuid4(), mine["predictionId"]),
    ):
        assert deliver(images, job_id, prediction_id, outputs=["http://x/"]).status_code == 200
    assert images.query("select * from generation_jobs order by id") == before
    for bad in ("", "x"):
        assert deliver(images, bad, mine["predictionId"]).status_code == 400


def test_a_webhook_that_is_faster_than_our_own_row_is_kept(images):
    created = start(images).json
    images.query(
        "update generation_jobs set status = 'running', holder = gen_random_uuid(), prediction_id = null,"
        " prediction = null, lease_until = now() + interval '1 min'"
    )
    assert deliver(images, created["id"], created["predictionId"], "failed").status_code == 200
    assert job(images)["prediction_id"] == created["predictionId"]
    images.query("update generation_jobs set lease_until = now() - interval '1 s'")
    claims.recover_abandoned(images.runtime.pool)
    assert images.work() == ["failed"]


def test_a_submission_that_nobody_finished_fails_by_itself_and_gives_the_place_back(images):
    start(images)
    images.query(
        "update generation_jobs set status = 'running', in_background = false, holder = gen_random_uuid(),"
        " prediction_id = null, prediction = null, lease_until = now() - interval '1 s'"
    )
    claims.recover_abandoned(images.runtime.pool)
    assert images.claim() is None  # it waits for a webhook first
    assert images.work() == ["failed"]
    assert [log["error_code"] for log in images.rows("generation_error_logs")] == ["submission_lost"]
    assert start(images).status_code == 202


def test_a_caller_who_looks_is_answered_from_the_provider_once_in_ten_seconds(images, sandbox):
    created = start(images, prompt="[sandbox: no-webhook]").json
    url = f"{PATH}/{created['id']}"
    looked = sandbox._server.replicate.looked_up
    images.get(url)
    assert sandbox._server.replicate.looked_up == looked  # it was heard from a moment ago
    images.query("update generation_jobs set heard_at = now() - interval '6 s'")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: images.get(url), range(16)))
    assert sandbox._server.replicate.looked_up == looked + 1
    until(lambda: _provider_says(images, created) == "succeeded")
    looked = sandbox._server.replicate.looked_up
    images.query("update generation_jobs set heard_at = now() - interval '6 s', looked_up_at = now() - interval '9 s'")
    images.get(url)
    assert sandbox._server.replicate.looked_up == looked
    images.query("update generation_jobs set heard_at = now() - interval '6 s', looked_up_at = now() - interval '10 s'")
    assert images.get(url).json["status"] == "processing"
    assert sandbox._server.replicate.looked_up == looked + 1
    assert images.claim() is not None  # it is due at once


def _provider_says(client, created):
    url = f"{client.runtime.settings.replicate_base_url}/v1/predictions/{created['predictionId']}"
    return requests.get(url, headers={"Authorization": "Bearer x"}, timeout=30).json()["status"]


def test_without_a_webhook_the_worker_looks_and_after_the_deadline_gives_up_and_cancels(open_images):
    client = open_images(render_deadline_s=60)
    created = start(client, prompt="[sandbox: never]").json
    assert client.work() == ["looked_up"]
    client.query("update generation_jobs set created_at = created_at - interval '61 s'")
    assert client.work() == ["failed"]
    assert [log["error_code"] for log in client.rows("generation_error_logs")] == ["render_deadline"]
    assert _provider_says(client, created) == "canceled"
    assert client.rows("usage_ledger") == []


def test_a_webhook_that_comes_while_a_worker_looks_is_not_overwritten(images, monkeypatch):
    created = start(images, prompt="[sandbox: never]").json
    replicate = images.runtime.images.replicate
    find = replicate.find

    def find_late(prediction_id):
        said = find(prediction_id)
        deliver(images, created["id"], prediction_id, "failed")
        return said

    monkeypatch.setattr(replicate, "find", find_late)
    assert images.work() == ["failed"]
    assert [log["error_code"] for log in images.rows("generation_error_logs")] == ["upstream_failed"]


def test_a_storage_that_is_away_delays_the_picture_and_loses_nothing(images, tmp_path):
    created = start(images).json
    (tmp_path / "files").write_text("in the way")
    assert finish(images, created["id"]) == ["delayed"]
    (tmp_path / "files").unlink()
    assert images.work() == ["stored"]
    assert len(images.rows("usage_ledger")) == 1


def test_a_storage_that_is_away_at_the_submission_is_a_503_and_costs_nothing(images, tmp_path):
    (tmp_path / "files").write_text("in the way")
    refused = upload(images, {"input1": photo()}, mode="redesign")
    assert (refused.status_code, refused.json["error"]) == (503, "UNAVAILABLE")
    assert start(images).status_code == 202


def test_a_picture_that_is_canceled_while_a_worker_stores_it_leaves_no_file(images, tmp_path, monkeypatch):
    created = start(images).json
    storage = images.runtime.images.storage
    put = storage.put

    def put_and_cancel(key, data):
        put(key, data)
        images.query("update generation_jobs set status = 'canceled', holder = null where status = 'running'")

    monkeypatch.setattr(storage, "put", put_and_cancel)
    assert finish(images, created["id"]) == ["not_owned"]
    assert [path for path in (tmp_path / "files").rglob("*") if path.is_file()] == []


def test_a_cancel_while_it_is_being_submitted_counts_and_stops_the_provider(images, monkeypatch):
    replicate = images.runtime.images.replicate
    create = replicate.create

    def create_and_cancel(**asked):
        prediction = create(**asked)
        (row,) = images.query("select id from generation_jobs")
        images.patch(f"{PATH}/{row['id']}", json={"action": "cancel"})
        return prediction

    monkeypatch.setattr(replicate, "create", create_and_cancel)
    created = start(images, prompt="[sandbox: never]")
    assert (created.status_code, created.json["status"]) == (202, "canceled")
    assert len(images.rows("usage_ledger")) == 1
    url = f"{PATH}/{created.json['id']}"
    assert images.get(url).json["status"] == "canceled"


def test_what_nobody_foresaw_delays_a_picture_for_as_long_as_its_outputs_are_there(images, monkeypatch):
    created = start(images).json
    monkeypatch.setattr(images.runtime.images.outputs, "fetch", lambda _: 1 / 0)
    assert finish(images, created["id"]) == ["delayed"]
    images.query("update generation_jobs set heard_at = heard_at - interval '3601 s'")
    assert images.work() == ["failed"]
    assert images.rows("usage_ledger") == []


def test_a_forgotten_users_files_go_too(images, tmp_path):
    created = start(images).json
    finish(images, created["id"])
    erasure.forget(images.runtime.settings.database_url, images.user_id)
    delete_files(images.runtime)
    assert [path for path in (tmp_path / "files").rglob("*") if path.is_file()] == []


def test_through_the_running_service(start_service, start_worker, sandbox, tmp_path):
    settings = {
        "REPLICATE_API_TOKEN": "r8_a-token",
        "REPLICATE_BASE_URL": sandbox.replicate_url,
        "REPLICATE_OUTPUT_HOSTS": sandbox.replicate_url,
        "REPLICATE_WEBHOOK_SECRET": SIGNING_SECRET,
        "STORAGE_URL": f"file://{tmp_path}/files",
    }
    with start_service(PUBLIC_BASE_URL="http://127.0.0.1:{port}", **settings) as service, start_worker(**settings):
        headers = {"Authorization": f"Bearer {service.token(UUID(int=7))}", "Connection": "close"}
        url = f"{service.url}{PATH}"
        for fault in ("", "[sandbox: double-webhook]", "[sandbox: reordered-webhooks]"):
            created = requests.post(
                url, data={"mode": "redesign", "prompt": fault}, files={"input1": photo()}, headers=headers, timeout=30
            )
            assert created.status_code == 202, created.text
            address = f"{url}/{created.json()['id']}?wait=25"
            shown = requests.get(address, headers=headers, timeout=60).json()
            assert shown["status"] == "succeeded", shown
            picture = requests.get(shown["variants"][0]["url"], timeout=30)
            assert Image.open(BytesIO(picture.content)).size == (640, 480)
