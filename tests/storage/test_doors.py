"""Pictures in a bucket, from the doors to its objects, also while it is away."""

from io import BytesIO

import pytest
import requests
from PIL import Image
from tests.api.test_images import PATH, finish, job, photo, start, upload
from tests.conftest import SIGNING_SECRET, until

from recto.jobs.images import delete_files

from .conftest import KEYS


def opened(url):
    answer = requests.get(url, timeout=30)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    return Image.open(BytesIO(answer.content))


def test_a_picture_is_made_shown_and_deleted_in_a_bucket(open_images, bucket, s3_server):
    client = open_images(storage_url=bucket)
    created = upload(client, {"input1": photo()}, mode="redesign").json
    (key,) = job(client)["payload"]["inputs"]
    assert s3_server.stored() == [f"recto/{key}"]
    address = client.runtime.images.storage.signed_url(key, seconds=300)
    assert opened(address).size == (60, 40)
    assert requests.get(address.partition("?")[0], timeout=30).status_code == 403
    assert finish(client, created["id"]) == ["stored"]
    (variant,) = client.get(f"{PATH}/{created['id']}").json["variants"]
    assert (opened(variant["url"]).size, opened(variant["thumbUrl"]).size) == ((640, 480), (512, 384))
    delete_files(client.runtime)
    assert len(s3_server.stored()) == 2  # the input is gone
    assert client.delete(f"{PATH}/{created['id']}").status_code == 204
    delete_files(client.runtime)
    assert s3_server.stored() == []


def test_a_bucket_that_is_away_in_the_middle_delays_a_picture_and_refuses_an_upload(open_images, bucket, s3_server):
    client = open_images(storage_url=bucket)
    created = start(client).json
    s3_server.stop()
    assert finish(client, created["id"]) == ["delayed"]
    assert client.get(f"{PATH}/{created['id']}").json["status"] == "processing"
    refused = upload(open_images(storage_url=bucket), {"input1": photo()}, mode="redesign")
    assert (refused.status_code, refused.json["error"]) == (503, "UNAVAILABLE")
    assert client.query("select * from usage_ledger") == []
    (in_flight,) = client.query("select user_id from generation_jobs where status in ('pending', 'running')")
    assert in_flight["user_id"] == client.user_id
    s3_server.start()
    assert client.work() == ["stored"]
    assert len(s3_server.stored()) == 2


@pytest.mark.soak
def test_a_bucket_that_is_away_in_the_middle_of_the_running_service(
    start_service, start_worker, sandbox, bucket, s3_server
):
    settings = KEYS | {
        "REPLICATE_API_TOKEN": "r8_a-token",
        "REPLICATE_BASE_URL": sandbox.replicate_url,
        "REPLICATE_OUTPUT_HOSTS": sandbox.replicate_url,
        "REPLICATE_WEBHOOK_SECRET": SIGNING_SECRET,
        "STORAGE_URL": bucket,
    }
    with (
        start_service(PUBLIC_BASE_URL="http://127.0.0.1:{port}", **settings) as service,
        start_worker(PUBLIC_BASE_URL="http://127.0.0.1:9", **settings) as worker,
    ):
        headers = {"Authorization": f"Bearer {service.token()}", "Connection": "close"}

        def ask(headers):
            form = {"data": {"mode": "redesign", "prompt": "a fox"}, "files": {"input1": photo()}}
            return requests.post(f"{service.url}{PATH}", headers=headers, timeout=60, **form)

        created = ask(headers)
        s3_server.stop()
        assert created.status_code == 202
        until(lambda: "image_delayed" in worker.log.read_text())
        assert ask({"Authorization": f"Bearer {service.token()}", "Connection": "close"}).status_code == 503
        s3_server.start()
        address = f"{service.url}{PATH}/{created.json()['id']}"
        shown = until(
            lambda: (now := requests.get(f"{address}?wait=25", headers=headers, timeout=60).json())["variants"] and now
        )
        assert opened(shown["variants"][0]["url"]).size == (640, 480)
        assert requests.delete(address, headers=headers, timeout=30).status_code == 204
        until(lambda: not s3_server.stored())
