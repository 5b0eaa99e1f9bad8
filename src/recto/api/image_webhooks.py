"""``/v1/webhooks``: what Replicate says of its predictions. It needs no token: it is signed."""

from time import time
from uuid import UUID

import psycopg
from flask import Blueprint, Response, request

from recto import telemetry
from recto.api import bodies
from recto.api.context import respond, runtime
from recto.api.image_contract import Heard
from recto.api.images import require_images
from recto.api.operation import operation
from recto.db import images
from recto.errors import (
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    RequestTimeout,
    Unauthorized,
    Unavailable,
)
from recto.providers import standard_webhooks
from recto.providers.replicate import NotAPrediction, Prediction
from recto.providers.standard_webhooks import InvalidSignature

blueprint = Blueprint("image_webhooks", __name__, url_prefix="/v1/webhooks")
blueprint.before_request(require_images)


@blueprint.post("/replicate")
@operation(
    "hearOfPrediction",
    answers={200: Heard},
    errors=(InvalidRequest, Unauthorized, NotFound, RequestTimeout, PayloadTooLarge, RateLimited, Unavailable),
)
def hear() -> Response:
    """Take a webhook of Replicate's, signed as Standard Webhooks has it.

    It is recorded and a worker is woken. Deliveries that are doubled, late or out of order change nothing.
    """
    body = bodies.read(request)
    secrets = [secret.get_secret_value() for secret in runtime().settings.replicate_webhook_secret]
    if secrets:
        try:
            standard_webhooks.verify(
                secrets,
                message_id=request.headers.get("webhook-id", ""),
                timestamp=request.headers.get("webhook-timestamp", ""),
                signatures=request.headers.get("webhook-signature", ""),
                body=body,
                now_s=time(),
            )
        except InvalidSignature as error:
            telemetry.webhooks_total.labels(str(error)).inc()
            raise Unauthorized("The webhook is not signed by its sender.") from None
    try:
        prediction = Prediction.read(body)
        job_id = UUID(request.args.get("job", ""))
    except (NotAPrediction, ValueError) as error:
        telemetry.webhooks_total.labels("unreadable").inc()
        raise InvalidRequest("The webhook does not tell of a prediction and its job.") from error
    try:
        changed = images.hear(runtime().pool, job_id, prediction.id, prediction.to_json())
    except psycopg.errors.UniqueViolation:  # another job's prediction
        changed = False
    telemetry.webhooks_total.labels("heard" if changed else "unchanged").inc()
    telemetry.log.info(
        "image_webhook", job_id=str(job_id), prediction_id=prediction.id, status=prediction.status, changed=changed
    )
    return respond(Heard())
