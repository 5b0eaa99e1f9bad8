"""Finish the job of a picture: what the provider has made is fetched, written anew and stored."""

import random
from uuid import uuid5

import psycopg

from recto import telemetry
from recto.db import renders
from recto.db.attempts import hand_back
from recto.db.claims import Attempt
from recto.db.commit import Delayed
from recto.db.failures import Failure
from recto.db.renders import Told, Variant
from recto.errors import InvalidRequest, Unavailable, UpstreamError
from recto.images.pictures import read_render
from recto.providers.outputs import OutputRefused
from recto.providers.redaction import KEPT_CHARACTERS, withhold
from recto.providers.replicate import Prediction
from recto.runtime import Images, WorkerRuntime
from recto.storage import keys
from recto.storage.failures import StorageUnavailable

# Until the next look, where no webhook comes.
LOOK_EVERY_S = 15.0
# Until the next try after something that may pass: at first, and at most.
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 60.0
# Replicate removes outputs an hour after the end.
_OUTPUTS_KEPT_S = 3600.0

_FAILED = "The image model's provider could not make this picture."


def run_image(runtime: WorkerRuntime, attempt: Attempt) -> str:
    """Do what is to be done next for the job, and return what became of it, as a log line says it.

    ``stored`` and ``failed`` are ends. After ``looked_up`` the provider still works, after ``delayed`` it is tried
    again. ``left``: to another worker, since pictures are off in this one. ``not_owned``: the job has ended, or another
    attempt has begun.

    Raises ``Unavailable`` if the database is away for longer than the worker is patient: the picture is then committed
    as soon as it is back.
    """
    held = runtime.images
    if held is None:
        return "left" if hand_back(runtime.pool, attempt, in_s=LOOK_EVERY_S) else "not_owned"
    told = renders.told(runtime.pool, attempt)
    outcome = _next(runtime, held, attempt, told)
    telemetry.image_event(
        outcome,
        user_id=attempt.user_id,
        job_id=attempt.job_id,
        prediction_id=told.prediction_id,
        status=outcome,
    )
    if outcome in ("stored", "failed"):
        telemetry.image_ended(attempt.payload["mode"], outcome, told.age_s)
    return outcome


def _next(runtime: WorkerRuntime, held: Images, attempt: Attempt, told: Told) -> str:
    if told.prediction_id is None:
        detail = "the process that submitted it stopped, and no webhook came"
        outcome = _fail(runtime, attempt, "submission_lost", detail, unless_heard=True)
        return "delayed" if outcome == "not_owned" and hand_back(runtime.pool, attempt) else outcome
    left_s = runtime.settings.render_deadline_s - told.age_s
    prediction = Prediction.of(told.prediction_id, told.prediction or {})
    is_late = False
    try:
        if not prediction.ended:
            telemetry.image_looked_up("worker")
            prediction = _heard(runtime, attempt, held.replicate.find(told.prediction_id))
            is_late = not prediction.ended and left_s < 0
        if is_late:  # it may end before it is canceled
            prediction = _heard(runtime, attempt, held.replicate.cancel(told.prediction_id))
        if prediction.status == "succeeded":
            return _store(runtime, held, attempt, prediction)
        if prediction.ended and not is_late:
            return _fail(runtime, attempt, f"upstream_{prediction.status}", _said(attempt, prediction))
    except (OutputRefused, InvalidRequest) as error:
        return _fail(runtime, attempt, "upstream_output_refused", error.message)
    except (psycopg.Error, Unavailable):
        raise
    except Exception as error:  # noqa: BLE001  whatever it is, the job must end
        if not isinstance(error, UpstreamError | StorageUnavailable):
            telemetry.log_failure(error)
        if prediction.status == "succeeded":  # it is stored for as long as its outputs are there, deadline or not
            left_s = _OUTPUTS_KEPT_S - told.heard_s
        if left_s > 0:
            pause_s = min(_pause_s(told.heard_s), left_s)
            return "delayed" if hand_back(runtime.pool, attempt, in_s=pause_s) else "not_owned"
    if prediction.status == "succeeded":
        return _fail(runtime, attempt, "outputs_expired", "the outputs could not be stored for an hour")
    if left_s < 0:
        return _fail(runtime, attempt, "render_deadline", "there was no picture before RENDER_DEADLINE_S")
    return "looked_up" if hand_back(runtime.pool, attempt, in_s=min(LOOK_EVERY_S, left_s)) else "not_owned"


def _heard(runtime: WorkerRuntime, attempt: Attempt, said: Prediction) -> Prediction:
    """Record what the provider has just said, and return what counts."""
    return Prediction.of(said.id, renders.looked_up(runtime.pool, attempt, said.id, said.to_json()))


def _pause_s(failing_s: float) -> float:
    """Return the seconds until the next try: up to as many as it has failed for, so that pauses about double."""
    longest = min(max(failing_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
    return random.uniform(longest / 2, longest)  # noqa: S311  spreads load


def _said(attempt: Attempt, prediction: Prediction) -> str:
    """Tell an operator why a prediction ended, in the provider's words unless they repeat the prompt or an address."""
    if prediction.error is None:
        return "the prediction ended without a picture"
    secrets = [attempt.payload["prompt"], *attempt.payload.get("inputs", [])]
    return withhold(secrets, [prediction.error])[:KEPT_CHARACTERS]


def _store(runtime: WorkerRuntime, held: Images, attempt: Attempt, prediction: Prediction) -> str:
    """Store all outputs, then commit. What is stored already counts as done: another worker began it."""
    if not prediction.outputs:
        return _fail(runtime, attempt, "upstream_no_output", "the prediction succeeded without an output")
    render_id = uuid5(attempt.job_id, "render")  # the same for whoever stores it
    numbers = range(len(prediction.outputs))
    files = [keys.of_variant(render_id, number, thumbnail=small) for number in numbers for small in (True, False)]
    if not renders.keep_outputs(runtime.pool, attempt, files):
        return "not_owned"
    variants = []
    for index, url in enumerate(prediction.outputs):
        render = read_render(held.outputs.fetch(url))
        held.storage.put(keys.of_variant(render_id, index, thumbnail=True), render.thumbnail)
        held.storage.put(keys.of_variant(render_id, index), render.data)
        variants.append(Variant(render.width, render.height))
    try:
        stored = runtime.commits.write(
            lambda: renders.succeed(runtime.pool, attempt, render_id, variants), figures={"job_id": str(attempt.job_id)}
        )
    except Delayed:
        raise Unavailable from None
    if stored:
        return "stored"
    if renders.has_ended(runtime.pool, attempt):  # canceled meanwhile: no row will ever name these files
        for key in files:
            held.storage.delete(key)
    return "not_owned"


def _fail(runtime: WorkerRuntime, attempt: Attempt, log_code: str, detail: str, *, unless_heard: bool = False) -> str:
    failure = Failure("upstream_error", _FAILED, log_code, detail, model=attempt.payload["model"])
    return "failed" if renders.fail(runtime.pool, attempt, failure, unless_heard=unless_heard) else "not_owned"


def delete_files(runtime: WorkerRuntime) -> None:
    """Delete the files whose rows are gone; what cannot be deleted now is tried again at the next turn."""
    held = runtime.images
    while held and (listed := renders.files_to_delete(runtime.pool)):
        for key in listed:
            held.storage.delete(keys.parse(key))
            renders.file_deleted(runtime.pool, key)
