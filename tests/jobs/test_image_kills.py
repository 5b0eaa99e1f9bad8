"""Kills at random steps of pictures: each job ends as the provider has it, is debited once and leaves no file over."""

import json
import logging
import random
import re
from collections import Counter
from contextlib import ExitStack, suppress
from time import time
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest
import requests
from PIL import Image
from tests.api.test_images import PATH, photo
from tests.conftest import SIGNING_SECRET

from recto.jobs.images import delete_files
from recto.providers.standard_webhooks import sign
from recto.storage import keys

from .conftest import IMPATIENT, until
from .mortal import OUTPUTS, SUBMIT

log = logging.getLogger(__name__)

KINDS = {
    "words": {"mode": "imagine", "prompt": "a fox"},
    "photo": {"mode": "redesign"},
    "two": {"mode": "imagine", "prompt": "[sandbox: two-outputs]"},
    "fails": {"mode": "imagine", "prompt": "[sandbox: fails]"},
    "canceled": {"mode": "imagine", "prompt": "a hen"},
}
# A submission that died before the provider had it waits for a webhook; all others go on by themselves.
GOING_ON = "select 1 from generation_jobs where status = 'running' or status = 'pending' and prediction_id is not null"


class Fleet:
    """A web service of one process, which gunicorn replaces, and a worker; either dies at the step that is ordered."""

    def __init__(self, start_service, start_worker, sandbox, folder):
        self._orders = {"web": folder / "web", "worker": folder / "worker"}
        for orders in self._orders.values():
            orders.mkdir()
        self._environment = {
            "REPLICATE_API_TOKEN": "r8_a-token",
            "REPLICATE_BASE_URL": sandbox.replicate_url,
            "REPLICATE_OUTPUT_HOSTS": sandbox.replicate_url,
            "REPLICATE_WEBHOOK_SECRET": SIGNING_SECRET,
            "STORAGE_URL": f"file://{folder}/files",
        }
        self._start_service, self._start_worker = start_service, start_worker
        self._stack = ExitStack()

    def __enter__(self):
        self.service = self._stack.enter_context(
            self._start_service(
                app="tests.jobs.wsgi_with_times:app",
                WEB_CONCURRENCY="1",
                PUBLIC_BASE_URL="http://127.0.0.1:{port}",
                TEST_TIMES=json.dumps(IMPATIENT),
                TEST_ORDERS=str(self._orders["web"]),
                **self._environment,
            )
        )
        self._add_worker()
        return self

    def __exit__(self, *error):
        self._stack.close()

    def _add_worker(self):
        orders = str(self._orders["worker"])
        self._worker = self._stack.enter_context(
            self._start_worker(PUBLIC_BASE_URL=self.service.url, TEST_ORDERS=orders, **self._environment)
        )

    def order(self, web_step, worker_step):
        (self._orders["web"] / web_step).touch()
        (self._orders["worker"] / worker_step).touch()

    def all_died(self):
        """Whether all orders were obeyed; a worker that has died is replaced."""
        if self._worker.process.poll() is not None:
            self._add_worker()
        return not [order for orders in self._orders.values() for order in orders.iterdir()]


class Callers:
    """A user for each picture; who loses the connection asks again with the same key."""

    def __init__(self, service, chance):
        self._service, self._chance, self.answers = service, chance, Counter()

    def ask_for_all(self):
        for kind in self._chance.sample(list(KINDS), len(KINDS)):
            headers = {"Authorization": f"Bearer {self._service.token()}", "Connection": "close"}
            answer = self._ask(kind, headers) or self._ask(kind, headers)
            self.answers[kind, answer and answer.status_code] += 1
            if kind == "canceled" and answer is not None:
                with suppress(requests.ConnectionError):
                    address = f"{self._service.url}{PATH}/{answer.json()['id']}"
                    requests.patch(address, json={"action": "cancel"}, headers=headers, timeout=30)

    def _ask(self, kind, headers):
        files = {"input1": photo()} if kind == "photo" else {"none": (None, "")}
        data = KINDS[kind] | {"idempotencyKey": "a-key"}
        with suppress(requests.ConnectionError):
            return requests.post(f"{self._service.url}{PATH}", data=data, files=files, headers=headers, timeout=30)


def made(sandbox, service):
    """What the provider made, by job: at most one prediction each."""
    found = {}
    for prediction in tuple(sandbox._server.replicate._predictions._kept.values()):
        if (prediction.webhook or "").startswith(service.url):
            (job_id,) = parse_qs(urlsplit(prediction.webhook).query)["job"]
            assert UUID(job_id) not in found, "it was asked twice"
            found[UUID(job_id)] = prediction
    return found


def tell_again(sandbox, service):
    """Deliver the webhooks of all ends once more, as Replicate does where a delivery failed."""
    for prediction in made(sandbox, service).values():
        until(lambda: prediction.ended)  # noqa: B023  called at once
        body, message_id, now = json.dumps(prediction.describe()).encode(), uuid4().hex, int(time())
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(now),
            "webhook-signature": sign(SIGNING_SECRET, message_id, now, body),
        }
        assert requests.post(prediction.webhook, data=body, headers=headers, timeout=30).status_code == 200


@pytest.mark.soak
def test_twenty_kills_at_random_steps(jobs, sandbox, start_service, start_worker, open_images, tmp_path):
    seed = random.randrange(2**32)
    log.warning("seed %d", seed)  # shown if the test fails
    chance = random.Random(seed)
    with Fleet(start_service, start_worker, sandbox, tmp_path) as fleet:
        callers = Callers(fleet.service, chance)
        for _ in range(20):
            steps = chance.choice(SUBMIT), chance.choice(OUTPUTS)
            log.warning("%s; %s", *steps)
            fleet.order(*steps)
            while not fleet.all_died():
                callers.ask_for_all()
                until(lambda: fleet.all_died() or not jobs.rows(GOING_ON))
            tell_again(sandbox, fleet.service)
        log.warning("%s", callers.answers)

        def settled():
            # The minute for which a lost submission waits: all webhooks have come.
            jobs.rows(
                "update generation_jobs set run_at = now() where status = 'pending' and run_at > now() returning 1"
            )
            # An obeyed order is gone a moment before its process is: a worker may still have to be replaced.
            return fleet.all_died() and not jobs.rows(
                "select 1 from generation_jobs where status in ('pending', 'running')"
            )

        until(settled)
        assert_as_the_provider_has_it(jobs, made(sandbox, fleet.service))
        delete_files(open_images().runtime)
        assert_files_and_rows_agree(jobs, tmp_path / "files")


def assert_as_the_provider_has_it(jobs, predictions):
    found = {row["id"]: row for row in jobs.rows("select * from generation_jobs")}
    assert predictions.keys() <= found.keys()
    for job_id, row in found.items():
        said = predictions[job_id].status if job_id in predictions else None
        if row["status"] != "canceled":
            assert row["status"] == ("succeeded" if said == "succeeded" else "failed"), (row, said)
    debited = jobs.rows("select job_id as id from usage_ledger where amount = 1 order by job_id")
    assert debited == jobs.rows(
        "select id from generation_jobs job where status = 'succeeded' or status = 'canceled' and ("
        " prediction_id is not null or exists ("
        " select from generation_attempts where job_id = job.id and request_id is not null)) order by id"
    )
    assert jobs.rows("select 1 from generation_attempts where outcome is null") == []


def assert_files_and_rows_agree(jobs, folder):
    named = {
        keys.of_variant(row["render_id"], row["index"], thumbnail=small)
        for row in jobs.rows("select render_id, index from render_variants")
        for small in (True, False)
    }
    # What a killed process left of a file has that file's name and something behind it, and goes with it.
    stored = {re.sub(r"(?<=\.jpg)\..+", "", str(path.relative_to(folder))) for path in folder.rglob("*.jpg*")}
    assert stored == named
    for name in named:
        with Image.open(folder / name) as picture:
            picture.load()
            assert picture.format == "JPEG"
    succeeded = jobs.rows("select id from generation_jobs where status = 'succeeded' order by id")
    assert jobs.rows("select job_id as id from renders order by job_id") == succeeded
