"""``/usage``: what the caller's generations count against the monthly quota."""

from flask import Blueprint, Response, g

from recto.api.auth import require_user
from recto.api.context import respond, runtime
from recto.api.operation import operation
from recto.api.usage_contract import AllUsage, Usage
from recto.db import images, usage

blueprint = Blueprint("usage", __name__)
blueprint.before_request(require_user)


@blueprint.get("/usage")
@operation("getUsage", answers={200: AllUsage})
def show() -> Response:
    """What is used of this month's quota.

    Months begin at midnight UTC on the first. Generations that run hold a place until they end.
    """
    pool, quota = runtime().pool, runtime().settings.quota_generations_per_month
    texts = Usage.model_validate(usage.find(pool, g.user.id, quota))
    if runtime().images is None:
        return respond(AllUsage(**texts.model_dump()))
    plan = runtime().plans.of(images.price_id(pool, g.user.id))
    pictures = usage.find(pool, g.user.id, plan.monthly_generations, images=True)
    return respond(AllUsage(**texts.model_dump(), images=Usage.model_validate(pictures)))
