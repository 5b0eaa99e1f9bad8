"""``/stats``: what the caller's generations came to, by model."""

from flask import Blueprint, Response, g, request

from recto.api.auth import require_user
from recto.api.context import respond, runtime
from recto.api.operation import operation
from recto.api.stats_contract import Stats, StatsQuery
from recto.db import stats

blueprint = Blueprint("stats", __name__)
blueprint.before_request(require_user)


@blueprint.get("/stats")
@operation("getStats", query=StatsQuery, answers={200: Stats})
def show() -> Response:
    """What the caller's generations came to: what was kept of each model's cards, and what that cost.

    One line for each model, prompt version and language of the last `days` days.
    """
    days = StatsQuery.parse(request).days
    return respond(Stats.model_validate(stats.find(runtime().pool, g.user.id, days=days)))
