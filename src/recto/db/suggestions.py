"""The table ``ai_suggestions``: proposals that are kept until their user has reviewed them."""

from dataclasses import dataclass
from uuid import UUID

from psycopg.rows import class_row

from recto.db.pool import Pool, as_service, as_user
from recto.errors import NotFound


@dataclass(frozen=True, slots=True)
class SuggestionRow:
    """A proposal and what its user decided; ``front`` and ``back`` as edited."""

    id: UUID
    generation_id: UUID
    position: int
    front: str
    back: str
    status: str


@dataclass(frozen=True, slots=True)
class Review:
    """A decision: ``status`` accepted or rejected. A front or a back that differs is an edit."""

    id: UUID
    status: str
    front: str | None = None
    back: str | None = None


_SUGGESTION = ", ".join(SuggestionRow.__dataclass_fields__)

# What was edited once stays an edited card, also when it is accepted again as it stands.
_REVIEW = f"""
    update ai_suggestions as old set
        front = coalesce(review.front, old.front),
        back = coalesce(review.back, old.back),
        reviewed_at = now(),
        status = case
            when review.status = 'rejected' then 'rejected'
            when (coalesce(review.front, old.front), coalesce(review.back, old.back)) <> (old.front, old.back)
                or old.edited then 'accepted_edited'
            else 'accepted'
        end,
        edited = old.edited
            or (coalesce(review.front, old.front), coalesce(review.back, old.back)) <> (old.front, old.back)
    from unnest(%(ids)s::uuid[], %(statuses)s::text[], %(fronts)s::text[], %(backs)s::text[])
        as review (id, status, front, back)
    where old.id = review.id and old.user_id = %(user_id)s
        and (%(generation_id)s::uuid is null or old.generation_id = %(generation_id)s)
    returning {", ".join(f"old.{name}" for name in SuggestionRow.__dataclass_fields__)}
"""  # noqa: S608  our own column names
_COUNT = """
    update generations set accepted_unedited_count = counted.unedited, accepted_edited_count = counted.edited
    from (
        select job.generation_id, count(*) filter (where suggestion.status = 'accepted') as unedited,
            count(*) filter (where suggestion.status = 'accepted_edited') as edited
        from generation_jobs job join ai_suggestions suggestion on suggestion.generation_id = job.id
        where job.id = any(%s) group by job.generation_id
    ) as counted
    where generations.id = counted.generation_id
"""


def of_generation(pool: Pool, user_id: UUID, generation_id: UUID, *, status: str | None = None) -> list[SuggestionRow]:
    """Return the suggestions of a generation of the user's, in order. Raises ``NotFound``."""
    with as_user(pool, user_id) as conn, conn.cursor(row_factory=class_row(SuggestionRow)) as cursor:
        rows = cursor.execute(
            f"select {_SUGGESTION} from ai_suggestions where user_id = %s and generation_id = %s"  # noqa: S608  our own column names
            " and (%s::text is null or status = %s) order by position",
            (user_id, generation_id, status, status),
        ).fetchall()
        known = (
            rows
            or conn.execute(
                "select from generation_jobs where user_id = %s and id = %s", (user_id, generation_id)
            ).fetchone()
        )
    if known is None:
        raise NotFound("There is no such generation.")
    return rows


def review(
    pool: Pool, user_id: UUID, reviews: list[Review], *, generation_id: UUID | None = None
) -> list[SuggestionRow]:
    """Note the user's decisions, all or none, and return the suggestions in the order of ``reviews``.

    The accepted counts of the analytics rows follow. Raises ``NotFound`` if one is not the user's, or not of
    ``generation_id``. A decision may be changed.
    """
    with as_service(pool, user_id) as conn, conn.cursor(row_factory=class_row(SuggestionRow)) as cursor:
        rows = cursor.execute(
            _REVIEW,
            {
                "user_id": user_id,
                "generation_id": generation_id,
                "ids": [review.id for review in reviews],
                "statuses": [review.status for review in reviews],
                "fronts": [review.front for review in reviews],
                "backs": [review.back for review in reviews],
            },
        ).fetchall()
        by_id = {row.id: row for row in rows}
        if any(review.id not in by_id for review in reviews):
            raise NotFound("There is no such suggestion.")
        conn.execute(_COUNT, ([row.generation_id for row in rows],))
    return [by_id[review.id] for review in reviews]


def of_deck(pool: Pool, user_id: UUID, deck_id: UUID, *, after: int, limit: int) -> list[SuggestionRow]:
    """Return up to ``limit`` pairs of the user's deck, oldest first, after the first ``after``. Raises ``NotFound``."""
    with as_user(pool, user_id) as conn, conn.cursor(row_factory=class_row(SuggestionRow)) as cursor:
        if conn.execute("select from decks where user_id = %s and id = %s", (user_id, deck_id)).fetchone() is None:
            raise NotFound("There is no such deck.")
        return cursor.execute(
            f"select {_SUGGESTION} from ai_suggestions where user_id = %s and deck_id = %s"  # noqa: S608  our own column names
            " order by created_at, generation_id, position offset %s limit %s",
            (user_id, deck_id, after, limit),
        ).fetchall()


def fronts_of_deck(pool: Pool, user_id: UUID, deck_id: UUID) -> list[str]:
    """Return the fronts that the deck has, oldest first."""
    with as_service(pool, user_id) as conn:
        rows = conn.execute(
            "select front from ai_suggestions where user_id = %s and deck_id = %s"
            " order by created_at, generation_id, position",
            (user_id, deck_id),
        ).fetchall()
    return [front for (front,) in rows]


def count_of_generation(pool: Pool, user_id: UUID, generation_id: UUID) -> int:
    """Return how many suggestions the generation has so far."""
    with as_service(pool, user_id) as conn:
        row = conn.execute("select count(*) from ai_suggestions where generation_id = %s", (generation_id,)).fetchone()
    return int(row[0]) if row else 0
