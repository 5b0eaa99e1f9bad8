"""``/usage``: what the caller's generations count against the monthly quota."""

from flask import Blueprint, Response, g

from recto.api import job_contract
from recto.api.auth import require_user
from recto.api.context import respond, runtime
from recto.api.operation import operation
from recto.db import usage

blueprint = Blueprint("usage", __name__)
blueprint.before_request(require_user)


@blueprint.get("/usage")
@operation("getUsage", answers={200: job_contract.Usage})
def show() -> Response:
    """What is used of this month's quota."""
    row = usage.find(runtime().pool, g.user.id, runtime().settings.quota_generations_per_month)
    return respond(job_contract.Usage.model_validate(row))
