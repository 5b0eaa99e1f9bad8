"""The sandbox's Replicate, as the official client and Standard Webhooks' own library meet it."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest
import replicate
import requests
from PIL import Image
from replicate.exceptions import ModelError, ReplicateError
from standardwebhooks import Webhook, WebhookVerificationError
from tests.conftest import until

from recto.sandbox.picture import picture
from recto.sandbox.replicate import FAULTS
from recto.sandbox.server import start

MODEL = "google/nano-banana"
AUTH = {"Authorization": "Bearer r8_a-token"}


@pytest.fixture
def sandbox():
    with start() as server:
        yield server


@pytest.fixture
def official(sandbox):
    """The official client of another author, 1.0.7."""
    client = replicate.Client(api_token="r8_a-token", base_url=sandbox.replicate_url, timeout=30)
    yield client
    client._client.close()  # it has no public way


@pytest.fixture
def hook():
    """Somebody's webhook: headers and bodies that it got."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.got.append((dict(self.headers.items()), body))
            self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.statuses = [], []
    server.url = f"http://127.0.0.1:{server.server_address[1]}/webhooks?job=1"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def create(sandbox, prompt, webhook=None, **body):
    return requests.post(
        f"{sandbox.replicate_url}/v1/models/{MODEL}/predictions",
        json={"input": {"prompt": prompt}} | ({"webhook": webhook} if webhook else {}) | body,
        headers=AUTH,
        timeout=30,
    )


def secret_of(sandbox):
    address = f"{sandbox.replicate_url}/v1/webhooks/default/secret"
    return requests.get(address, headers=AUTH, timeout=30).json()["key"]


def test_the_official_client_runs_a_model_and_gets_a_picture(official):
    output = official.run(MODEL, input={"prompt": "a fox"})
    data = requests.get(str(output), timeout=30).content
    assert Image.open(BytesIO(data)).format == "JPEG"
    assert data == picture("a fox")


def test_the_official_client_uploads_a_file(official):
    photo = BytesIO(picture("a room"))
    photo.name = "room.jpg"
    file = official.files.create(photo)
    assert official.files.get(file.id).size == len(photo.getvalue())
    assert official.run(MODEL, input={"prompt": "a room", "image_input": [file.urls["get"]]})


def test_the_official_client_cancels(official):
    prediction = official.models.predictions.create(model=MODEL, input={"prompt": "[sandbox: never]"})
    assert official.predictions.cancel(prediction.id).status == "canceled"
    assert official.predictions.get(prediction.id).status == "canceled"


def test_the_official_client_understands_its_errors(official):
    with pytest.raises(ReplicateError) as refused:
        official.run(MODEL, input={"prompt": "[sandbox: http-402]"})
    assert (refused.value.status, refused.value.title) == (402, "Insufficient credit")
    with pytest.raises(ModelError):
        official.run(MODEL, input={"prompt": "[sandbox: fails]"})


def test_a_prediction_ends_and_its_webhook_is_signed(sandbox, hook):
    created = create(sandbox, "a fox", hook.url, webhook_events_filter=["completed"])
    assert (created.status_code, created.json()["status"]) == (201, "starting")
    ((headers, body),) = until(lambda: hook.got)
    told = Webhook(secret_of(sandbox)).verify(body, headers)
    assert (told["id"], told["status"]) == (created.json()["id"], "succeeded")
    assert told["output"].startswith(sandbox.replicate_url)


def test_a_webhook_that_was_not_taken_is_sent_again_under_the_same_id(sandbox, hook):
    hook.statuses = [500, 503]
    create(sandbox, "a fox", hook.url)
    until(lambda: len(hook.got) == 3)
    assert len({headers["webhook-id"] for headers, _ in hook.got}) == 1


def test_a_doubled_and_a_reordered_webhook(sandbox, hook):
    create(sandbox, "[sandbox: double-webhook]", hook.url)
    until(lambda: len(hook.got) == 10)
    assert len({headers["webhook-id"] for headers, _ in hook.got}) == 1
    hook.got.clear()
    create(sandbox, "[sandbox: reordered-webhooks]", hook.url)
    until(lambda: len(hook.got) == 2)
    assert [json.loads(body)["status"] for _, body in hook.got] == ["succeeded", "processing"]


@pytest.mark.parametrize("fault", ["forged-webhook", "stale-webhook"])
def test_a_webhook_that_must_be_refused(sandbox, hook, fault):
    create(sandbox, f"[sandbox: {fault}]", hook.url)
    ((headers, body),) = until(lambda: hook.got)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_of(sandbox)).verify(body, headers)


def test_without_a_webhook_or_when_none_is_to_come_the_end_is_seen_by_looking(sandbox, hook):
    waited = requests.post(
        f"{sandbox.replicate_url}/v1/predictions",
        json={"version": "x", "input": {"prompt": "[sandbox: no-webhook]"}, "webhook": hook.url},
        headers=AUTH | {"Prefer": "wait=5"},
        timeout=30,
    )
    assert waited.json()["status"] == "succeeded"
    assert hook.got == []


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"input": {}}, "prompt: is required"),
        ({"input": {"prompt": 1}}, "must be a string"),
        ({"input": {"prompt": "x"}, "wait": 1}, "wait: Additional property"),
        ({"input": {"prompt": "x"}, "webhook": "http://example.com/"}, "webhook: must be an HTTPS address"),
        ({"input": {"prompt": "[sandbox: no-such]"}}, "There are:"),
    ],
)
def test_what_replicate_would_refuse_is_refused_in_its_form(sandbox, body, detail):
    refused = requests.post(f"{sandbox.replicate_url}/v1/predictions", json=body, headers=AUTH, timeout=30)
    assert (refused.status_code, detail in refused.json()["detail"]) == (422, True)


def test_a_token_is_asked_for_but_not_where_files_are(sandbox):
    assert requests.get(f"{sandbox.replicate_url}/v1/webhooks/default/secret", timeout=30).status_code == 401
    assert requests.get(f"{sandbox.replicate_url}/outputs/{'x' * 26}/0.jpg", timeout=30).status_code == 404


@pytest.mark.soak
def test_every_fault_of_the_list_does_something_that_a_caller_sees(sandbox, hook):
    """The good way aside, no two of those that show in the answer or the output look alike."""
    seen = {}
    for fault in FAULTS.keys() - {"silent", "slow", "never", "late-webhook"}:
        hook.got.clear()
        created = create(sandbox, f"[sandbox: {fault}]", hook.url)
        if created.status_code != 201 or "id" not in created.json():
            seen[fault] = (created.status_code, created.text[:40])
            continue
        address = created.json()["urls"]["get"]
        ended = until(lambda: (now := requests.get(address, headers=AUTH, timeout=30).json())["completed_at"] and now)  # noqa: B023
        output = ended["output"] if isinstance(ended["output"], list) else [ended["output"]]
        files = [
            requests.get(url, timeout=30, allow_redirects=False)
            for url in output
            if url and url.startswith(sandbox.replicate_url)
        ]
        if "webhook" not in fault:
            seen[fault] = (
                ended["error"],
                len(output),
                output[0] and output[0][:12],
                *[(file.status_code, file.headers["Content-Type"], len(file.content) > 2**20) for file in files],
            )
    assert len(set(map(str, seen.values()))) == len(seen)


def test_the_same_words_make_the_same_picture_and_others_another():
    assert picture("a fox") == picture("a fox") != picture("a hen")
    assert picture("a fox", 1) != picture("a fox", 0)
    assert picture("")


def test_closing_ends_what_still_runs():
    with start() as server:
        create(server, "[sandbox: slow]", "http://127.0.0.1:9/")
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(create, server, "[sandbox: silent]")
            until(waiting.running)
            server.close()
            assert isinstance(waiting.exception(30), requests.RequestException)
