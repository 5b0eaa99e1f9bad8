"""``/v1/generations``: pictures that Replicate makes, delivered by webhook."""

from contextlib import closing
from hashlib import sha256
from threading import BoundedSemaphore
from uuid import UUID, uuid4

import gevent
from flask import Blueprint, Response, g, request, url_for
from gevent.monkey import is_module_patched

from recto import telemetry
from recto.api import cursors
from recto.api.auth import require_user
from recto.api.context import parse_uuid, place, runtime
from recto.api.idempotency import read_key
from recto.api.image_contract import (
    CancelImage,
    CreatedImage,
    CreateImage,
    Image,
    ImagePage,
    ImageQuery,
    status_of,
)
from recto.api.job_contract import WaitQuery
from recto.api.limits import limited
from recto.api.new_job import lease
from recto.api.operation import operation
from recto.api.waiting import looks
from recto.db import images
from recto.db.commit import Delayed
from recto.db.failures import Failure
from recto.db.images import ImageRow, NewImage
from recto.errors import (
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    PlanExceeded,
    RectoError,
    TooManyInFlight,
    Unavailable,
    UpstreamError,
)
from recto.images.modes import MODES, Wish
from recto.images.pictures import Upload, read_upload
from recto.jobs.images import LOOK_EVERY_S
from recto.providers.replicate import Prediction
from recto.runtime import Images
from recto.storage import keys
from recto.storage.failures import StorageUnavailable
from recto.times import UPLOAD_S

_INPUT_URL_S = 300  # for which the provider may read an input
_reading = BoundedSemaphore(16)  # bodies at once in a process, each of which is held in memory

blueprint = Blueprint("images", __name__, url_prefix="/v1/generations")


@blueprint.before_request
def require_images() -> None:
    """Answer 404 where pictures are off."""
    _held()


blueprint.before_request(require_user)


@blueprint.post("")
@operation(
    "createImage",
    body=CreateImage,
    answers={202: CreatedImage},
    errors=(PlanExceeded, NotFound, TooManyInFlight, IdempotencyKeyReused, UpstreamError),
    headers={
        "Location": "Where to follow the generation.",
        "Idempotent-Replayed": "`true` if the key was sent before, with the same fields and files.",
    },
    request_headers={"Idempotency-Key": "In place of the field `idempotencyKey`."},
)
@limited
def create() -> Response:
    """Have a picture made.

    JSON, or a form with its files where the mode needs some. One picture of a user is in flight at a time.
    """
    held = _held()
    with place(_reading, "Too many pictures are being sent.", retry_after_s=UPLOAD_S):
        fields, files = CreateImage.parse_form(request)
    key = _key(fields)
    request_hash = _request_hash(fields, files)
    if key and (existing := images.find_by_key(runtime().pool, g.user.id, key, request_hash)):
        return _accepted(images.find(runtime().pool, g.user.id, existing), **{"Idempotent-Replayed": "true"})
    wish = Wish(
        **fields.model_dump(exclude={"idempotency_key"}),
        longest_side=max(runtime().bounds.front, runtime().bounds.back),
    )
    uploads = _uploads(wish, files)
    settings = {name: text for name, text in (("roomType", wish.room_type), ("style", wish.style)) if text}
    mode = MODES[wish.mode]
    new = NewImage(
        mode=wish.mode,
        prompt=wish.prompt_for_model(),
        settings=settings,
        prompt_version=mode.version,
        model=runtime().settings.replicate_model,
        request_hash=request_hash,
        idempotency_key=key,
    )
    job_id = uuid4()
    plan = runtime().plans.of(images.price_id(runtime().pool, g.user.id))
    existing = images.reserve(runtime().pool, g.user.id, job_id, new, limit=plan.monthly_generations, lease=lease())
    if existing:
        return _accepted(images.find(runtime().pool, g.user.id, existing), **{"Idempotent-Replayed": "true"})
    with runtime().leases.renewed(job_id):
        prediction = _submit(held, job_id, new, uploads)
    if prediction:
        telemetry.image_event(
            "submitted", user_id=g.user.id, job_id=job_id, prediction_id=prediction.id, status=prediction.status
        )
    return _accepted(images.find(runtime().pool, g.user.id, job_id))


def _submit(held: Images, job_id: UUID, new: NewImage, uploads: list[Upload]) -> Prediction | None:
    """Store the inputs and hand the job to the provider; whatever fails ends the job, at no cost.

    None if it was canceled before.
    """
    pool, user_id, holder = runtime().pool, g.user.id, runtime().leases.holder
    try:
        stored = [keys.of_input(user_id, uuid4(), upload.extension) for upload in uploads]
        if stored and not images.keep_inputs(pool, user_id, job_id, holder, stored):
            return None
        for key, upload in zip(stored, uploads, strict=True):
            held.storage.put(key, upload.data)
        prediction = held.replicate.create(
            prompt=new.prompt,
            images=[held.storage.signed_url(key, seconds=_INPUT_URL_S) for key in stored],
            webhook_url=f"{runtime().settings.public_base_url}/v1/webhooks/replicate?job={job_id}",
        )
    except Exception as error:
        if isinstance(error, UpstreamError):
            failure = Failure.of(error, model=new.model)
        else:
            ours = RectoError()
            detail = "the inputs could not be stored"
            failure = Failure(ours.code, ours.message, type(error).__name__, detail, model=new.model)
        images.not_submitted(pool, user_id, job_id, failure)
        telemetry.image_event("failed", user_id=user_id, job_id=job_id, prediction_id=None, status="failed")
        if isinstance(error, StorageUnavailable):
            raise Unavailable from error
        raise
    look_in_s = min(LOOK_EVERY_S, runtime().settings.render_deadline_s)
    try:
        kept = runtime().commits.write(
            lambda: images.submitted(
                pool, user_id, job_id, holder, prediction.id, prediction.to_json(), look_in_s=look_in_s
            ),
            figures={"job_id": str(job_id), "prediction_id": prediction.id},
        )
    except Delayed:
        raise Unavailable("The database is away. The picture is being made; its key brings it later.") from None
    if not kept:
        _cancel_at_provider(held, prediction.id)
    return prediction


@blueprint.get("")
@operation("listImages", query=ImageQuery, answers={200: ImagePage}, errors=(NotFound,))
def index() -> Response:
    """The caller's pictures, newest first.

    Each with its state, its settings and, once they are stored, its files.
    """
    query = ImageQuery.parse(request)
    before = cursors.decode(query.cursor)[:2] if query.cursor else None
    rows = images.newest(runtime().pool, g.user.id, before=before, limit=query.limit + 1)
    shown, next_cursor = cursors.page(rows, query.limit)
    return _respond(ImagePage(generations=[Image.of(row, _held().storage) for row in shown], next_cursor=next_cursor))


@blueprint.get("/<generation_id>")
@operation("getImage", query=WaitQuery, answers={200: Image}, errors=(NotFound,))
def show(generation_id: str) -> Response:
    """One picture, at once or as soon as it is there.

    `succeeded` is only said when its files are stored. Their addresses end after some time: ask again for new ones.
    """
    job_id = parse_uuid(generation_id)
    with closing(looks(job_id, WaitQuery.parse(request).wait)) as waiting:
        for is_last in waiting:
            row = images.find(runtime().pool, g.user.id, job_id)
            if not row.ended and _look_up(job_id):
                row = images.find(runtime().pool, g.user.id, job_id)
            if is_last or row.ended:
                break
    return _respond(Image.of(row, _held().storage))


def _look_up(job_id: UUID) -> bool:
    """Ask the provider, if nobody has for some time; a worker does the rest. True if the row may have changed."""
    prediction_id = images.may_look_up(runtime().pool, g.user.id, job_id)
    if prediction_id is None:
        return False
    telemetry.image_looked_up("caller")
    try:
        prediction = _held().replicate.find(prediction_id)
    except UpstreamError:  # the worker asks again
        return False
    return images.hear(runtime().pool, job_id, prediction.id, prediction.to_json())


@blueprint.patch("/<generation_id>")
@operation("cancelImage", body=CancelImage, answers={200: Image}, errors=(NotFound,))
def cancel(generation_id: str) -> Response:
    """Cancel a picture's generation, at the provider too.

    One that the provider has counts against the plan's month all the same.
    """
    job_id = parse_uuid(generation_id)
    CancelImage.parse(request)
    prediction_id = images.cancel(runtime().pool, g.user.id, job_id)
    telemetry.image_event("canceled", user_id=g.user.id, job_id=job_id, prediction_id=prediction_id, status="canceled")
    if prediction_id:
        _cancel_at_provider(_held(), prediction_id)
    return _respond(Image.of(images.find(runtime().pool, g.user.id, job_id), _held().storage))


def _cancel_at_provider(held: Images, prediction_id: str) -> None:
    try:
        held.replicate.cancel(prediction_id)
    except UpstreamError as error:  # it ends by itself, and its webhook changes nothing
        telemetry.log.warning("image_not_canceled", prediction_id=prediction_id, reason=type(error).__name__)


@blueprint.delete("/<generation_id>")
@operation("deleteImage", answers={204: None}, errors=(InvalidRequest, NotFound))
def delete(generation_id: str) -> Response:
    """Delete a finished generation and its pictures.

    What it counted stays counted.
    """
    job_id = parse_uuid(generation_id)
    images.delete(runtime().pool, g.user.id, job_id)
    telemetry.image_event("deleted", user_id=g.user.id, job_id=job_id, prediction_id=None, status="deleted")
    return Response(status=204)


def _held() -> Images:
    held = runtime().images
    if held is None:
        raise NotFound
    return held


def _key(fields: CreateImage) -> str | None:
    header = read_key()
    if header and fields.idempotency_key and header != fields.idempotency_key:
        raise InvalidRequest("idempotencyKey and the header Idempotency-Key differ.")
    return header or fields.idempotency_key


def _request_hash(fields: CreateImage, files: dict[str, bytes]) -> str:
    digest = sha256(fields.model_dump_json(exclude={"idempotency_key"}).encode())
    for name in sorted(files):
        digest.update(f"\n{name} ".encode() + sha256(files[name]).digest())
    return digest.hexdigest()


def _uploads(wish: Wish, files: dict[str, bytes]) -> list[Upload]:
    needed = MODES[wish.mode].files
    if missing := [name for name in needed if not files.get(name)]:
        raise InvalidRequest(f"{' and '.join(missing)} must be sent in the mode {wish.mode}.")
    return [_read_aside(files[name]) for name in needed]


def _read_aside(file: bytes) -> Upload:
    """Read an upload, which computes for long, in a thread of its own, so that other requests go on."""
    if is_module_patched("threading"):
        return gevent.get_hub().threadpool.apply(read_upload, (file,))  # type: ignore[no-any-return]
    return read_upload(file)


def _accepted(row: ImageRow, **headers: str) -> Response:
    created = CreatedImage(
        id=str(row.id),
        prediction_id=row.prediction_id,
        status="starting" if not row.ended else status_of(row),
        settings=row.settings,
        created_at=row.created_at,
    )
    return _respond(created, 202, Location=url_for(".show", generation_id=row.id), **headers)


def _respond(body: CreatedImage | ImagePage, status: int = 200, **headers: str) -> Response:
    return Response(body.model_dump_json(by_alias=True), status=status, headers=headers, mimetype="application/json")
