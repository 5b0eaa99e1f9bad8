"""Bring a picture home: what the provider has made is fetched, written anew and stored."""

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
from recto.providers.replicate import Prediction
from recto.runtime import Images, WorkerRuntime
from recto.storage import keys
from recto.storage.failures import StorageUnavailable

# Until the next look, where no webhook comes; and after something that may pass.
LOOK_EVERY_S = 15.0
_AGAIN_S = 5.0

_FAILED = "The image model's provider could not make this picture."


def run_image(runtime: WorkerRuntime, attempt: Attempt) -> str:
    """Do what is to be done next for the job, and return what became of it, as a log line says it.

    Where this worker has no pictures on, the job is left to another one. Raises ``Unavailable`` if the database is away
    for longer than the worker is patient: the picture is then committed as soon as it is back.
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
        return _fail(runtime, attempt, "submission_lost", "the process that submitted it stopped, and no webhook came")
    is_late = told.age_s > runtime.settings.render_deadline_s
    prediction = Prediction.of(told.prediction_id, told.prediction or {})
    try:
        if not prediction.ended:
            telemetry.image_looked_up("worker")
            said = held.replicate.find(told.prediction_id).to_json()
            prediction = Prediction.of(told.prediction_id, renders.looked_up(runtime.pool, attempt, said))
        if prediction.status == "succeeded":
            return _store(runtime, held, attempt, prediction)
        if prediction.ended:
            return _fail(runtime, attempt, f"upstream_{prediction.status}", "the prediction ended without a picture")
        if is_late:
            held.replicate.cancel(told.prediction_id)
    except (OutputRefused, InvalidRequest) as error:
        return _fail(runtime, attempt, "upstream_output_refused", error.message)
    except (psycopg.Error, Unavailable):
        raise
    except Exception as error:  # noqa: BLE001  whatever it is, the job must end
        if not isinstance(error, UpstreamError | StorageUnavailable):
            telemetry.log_failure(error)
        if not is_late:
            return "delayed" if hand_back(runtime.pool, attempt, in_s=_AGAIN_S) else "not_owned"
    if is_late:
        return _fail(runtime, attempt, "render_deadline", "there was no picture before RENDER_DEADLINE_S")
    return "looked_up" if hand_back(runtime.pool, attempt, in_s=LOOK_EVERY_S) else "not_owned"


def _store(runtime: WorkerRuntime, held: Images, attempt: Attempt, prediction: Prediction) -> str:
    """Store all outputs, then commit. What is stored already counts as done: another worker began it."""
    if not prediction.outputs:
        return _fail(runtime, attempt, "upstream_no_output", "the prediction succeeded without an output")
    render_id = uuid5(attempt.job_id, "render")  # the same for whoever stores it
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
        for index in range(len(variants)):
            held.storage.delete(keys.of_variant(render_id, index, thumbnail=True))
            held.storage.delete(keys.of_variant(render_id, index))
    return "not_owned"


def _fail(runtime: WorkerRuntime, attempt: Attempt, log_code: str, detail: str) -> str:
    failure = Failure("upstream_error", _FAILED, log_code, detail, model=attempt.payload["model"])
    return "failed" if renders.fail(runtime.pool, attempt, failure) else "not_owned"


def delete_files(runtime: WorkerRuntime) -> None:
    """Delete the files whose rows are gone; what cannot be deleted now is tried again at the next turn."""
    held = runtime.images
    while held and (listed := renders.files_to_delete(runtime.pool)):
        for key in listed:
            held.storage.delete(keys.parse(key))
            renders.file_deleted(runtime.pool, key)
