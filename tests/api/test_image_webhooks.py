"""Webhooks doubled, early, late and in any order, between whatever else happens to a picture's job."""

from dataclasses import replace
from itertools import permutations
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.api.test_images import PATH, deliver

from recto.db import claims
from recto.db import images as rows
from recto.db.images import NewImage
from recto.db.starts import Lease

FINAL = ("succeeded", "failed", "canceled")
NEW = NewImage("imagine", "[sandbox: never]", {}, "1", "google/nano-banana", "a hash")


class Delivered(RuleBasedStateMachine):
    """One job, from where the provider has the prediction and our row does not know it.

    ``said``: what counts of what the provider said; ``ended``: how the job has ended. Both never go back.
    """

    def __init__(self, images):
        super().__init__()
        self.images = images
        self.committed = self.lost = self.known = False
        self.said, self.ended, self.debits = None, None, 0

    @initialize()
    def submit(self):
        self.client = replace(self.images, user_id=uuid4())
        self.client.__dict__["app"] = self.images.app
        self.job_id, self.holder = uuid4(), uuid4()
        runtime = self.client.runtime
        rows.reserve(runtime.pool, self.client.user_id, self.job_id, NEW, limit=1, lease=Lease(self.holder, 600))
        self.prediction = runtime.images.replicate.create(
            prompt=NEW.prompt, images=[], webhook_url=f"http://127.0.0.1:9/v1/webhooks/replicate?job={self.job_id}"
        )

    def hear(self, status):
        if self.ended is None and self.said not in FINAL and (self.said, status) != ("processing", "starting"):
            self.said, self.known = status, True

    @rule(status=st.sampled_from(("starting", "processing", *FINAL)), times=st.integers(1, 2))
    def webhook_comes(self, status, times):
        output = f"{self.client.runtime.settings.replicate_base_url}/outputs/{self.prediction.id}/0.jpg"
        outputs = [output] if status == "succeeded" else []
        for _ in range(times):
            assert deliver(self.client, self.job_id, self.prediction.id, status, outputs).status_code == 200
        self.hear(status)

    @precondition(lambda self: not self.committed)
    @rule()
    def our_row_hears_that_it_is_submitted(self):
        kept = rows.submitted(
            self.client.runtime.pool,
            self.client.user_id,
            self.job_id,
            self.holder,
            self.prediction.id,
            self.prediction.to_json(),
            look_in_s=15,
        )
        assert kept == (self.ended in (None, "succeeded"))
        self.committed = True
        if self.ended is None:
            self.known, self.said = True, self.said or "starting"
        elif self.ended == "canceled":
            self.debits = 1

    @precondition(lambda self: not self.committed and not self.lost and not self.ended)
    @rule()
    def submitting_process_is_lost(self):
        self.client.query(f"update generation_jobs set lease_until = now() - interval '1 s' where id = '{self.job_id}'")
        assert claims.recover_abandoned(self.client.runtime.pool) == self.job_id
        self.lost = True

    @rule()
    def worker_works(self):
        outcomes = self.client.work()
        if self.ended or not (self.committed or self.lost):
            assert outcomes == []
        elif not self.known or self.said in ("failed", "canceled"):
            assert outcomes == ["failed"]
            self.ended = "failed"
        elif self.said == "succeeded":
            assert outcomes == ["stored"]
            self.ended, self.debits = "succeeded", 1
        else:
            assert outcomes == ["looked_up"]

    @rule()
    def caller_looks(self):
        self.client.query(f"update generation_jobs set heard_at = now() - interval '6 s' where id = '{self.job_id}'")
        self.client.get(f"{PATH}/{self.job_id}")

    @rule()
    def caller_cancels(self):
        canceled = self.client.patch(f"{PATH}/{self.job_id}", json={"action": "cancel"})
        assert canceled.status_code == (400 if self.ended else 200)
        if not self.ended:
            self.ended, self.debits = "canceled", int(self.known)

    @invariant()
    def callers_see_it_go_forwards(self):
        status = "starting" if self.said in (None, "starting") else "processing"
        assert self.client.get(f"{PATH}/{self.job_id}").json["status"] == (self.ended or status)

    @invariant()
    def place_and_debit_are_there_once(self):
        used = self.client.get("/usage").json["images"]
        assert (used["used"], used["reserved"]) == (self.debits, int(not self.ended))

    def teardown(self):
        self.client.query("delete from generation_jobs")


def run(images, examples, *, derandomize):
    run_state_machine_as_test(
        lambda: Delivered(images),
        settings=settings(
            max_examples=examples,
            stateful_step_count=12,
            derandomize=derandomize,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_deliveries_between_all_else_change_nothing_twice_and_nothing_back(images):
    run(images, 15, derandomize=True)


@pytest.mark.soak
def test_many_deliveries_between_all_else(images):
    run(images, 300, derandomize=False)


@pytest.mark.parametrize("final", FINAL)
def test_in_every_order_a_doubled_delivery_ends_the_job_the_same_way(images, final):
    for order in permutations(("starting", "processing", final)):
        job = Delivered(images)
        job.submit()
        job.webhook_comes(order[0], 2)  # before our row is committed
        job.our_row_hears_that_it_is_submitted()
        for status in (*order[1:], *order):
            job.webhook_comes(status, 2)
            job.callers_see_it_go_forwards()
        job.worker_works()
        for status in order:
            job.webhook_comes(status, 2)
        job.callers_see_it_go_forwards()
        job.place_and_debit_are_there_once()
        assert job.ended == ("succeeded" if final == "succeeded" else "failed")
