"""The table ``ai_suggestions``: proposals that are kept until their user has reviewed them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row

from recto.db.pool import Pool, as_service, as_user
from recto.errors import NotFound
from recto.text.grounding import Grounding


@dataclass(frozen=True, slots=True)
class SuggestionRow:
    """A proposal and what its user decided; ``front`` and ``back`` as edited, the grounding as of what was written."""

    id: UUID
    job_id: UUID
    position: int
    front: str
    back: str
    status: str
    created_at: datetime
    quote: str | None
    start: int | None
    end: int | None
    grounded: bool | None
    section: int | None
    section_title: str | None


@dataclass(frozen=True, slots=True)
class NewSuggestion:
    """A proposal to keep, and the SHA-256 of its normalised front: what makes two of a deck alike.

    ``grounding``: where it stands in its text; None if there is none. ``section``: the number of the one that it is of,
    from 1, if the text is asked in parts.
    """

    front: str
    back: str
    front_hash: str
    grounding: Grounding | None = None
    section: int | None = None
    section_title: str | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """A decision: ``status`` accepted or rejected. A front or a back that differs is an edit."""

    id: UUID
    status: str
    front: str | None = None
    back: str | None = None


class Place(NamedTuple):
    """Where a suggestion stands among those of its deck."""

    created_at: datetime
    job_id: UUID
    position: int


FIRST = Place(datetime.min.replace(tzinfo=UTC), UUID(int=0), 0)

_INSERT = """
    insert into ai_suggestions (job_id, user_id, deck_id, position, front, back, front_hash, quote, start, "end",
        grounded, section, section_title)
    select %(job_id)s, %(user_id)s, %(deck_id)s,
        n + (select coalesce(max(position), 0) from ai_suggestions where job_id = %(job_id)s), front, back, front_hash,
        quote, start, "end", grounded, section, section_title
    from unnest(%(fronts)s::text[], %(backs)s::text[], %(hashes)s::text[], %(quotes)s::text[], %(starts)s::int[],
        %(ends)s::int[], %(grounded)s::boolean[], %(sections)s::int[], %(titles)s::text[]) with ordinality as card
        (front, back, front_hash, quote, start, "end", grounded, section, section_title, n)
    on conflict (deck_id, front_hash) where deck_id is not null do nothing
"""
# What was edited once stays an edited card, also when it is accepted again as it stands.
_REVIEW = """
    update ai_suggestions as old set
        front = new.front,
        back = new.back,
        written_front = case when new.front <> old.front then coalesce(written_front, old.front) else written_front end,
        reviewed_at = now(),
        status = case when new.status = 'rejected' then 'rejected' when new.edited then 'accepted_edited'
            else 'accepted' end,
        edited = new.edited
    from (
        select known.id, review.status, coalesce(review.front, known.front) as front,
            coalesce(review.back, known.back) as back,
            known.edited or coalesce(review.front, known.front) <> known.front
                or coalesce(review.back, known.back) <> known.back as edited
        from ai_suggestions known
        join unnest(%(ids)s::uuid[], %(statuses)s::text[], %(fronts)s::text[], %(backs)s::text[])
            as review (id, status, front, back) on review.id = known.id
    ) as new
    where old.id = new.id and old.user_id = %(user_id)s
    returning old.id, job_id, position, old.front, old.back, old.status, created_at, quote, start, "end", grounded,
        section, section_title
"""
# Reviews of one job come one after another, in the order of the jobs' ids: none counts before another has committed,
# and no two wait for each other.
_LOCK_JOBS = """
    select id from generation_jobs where id in (
        select job_id from ai_suggestions where user_id = %(user_id)s and id = any(%(ids)s)
            and (%(job_id)s::uuid is null or job_id = %(job_id)s)
    ) order by id for no key update
"""
_COUNT = """
    update generations set accepted_unedited_count = counted.unedited, accepted_edited_count = counted.edited,
        rejected_count = counted.rejected
    from (
        select job_id, count(*) filter (where status = 'accepted') as unedited,
            count(*) filter (where status = 'accepted_edited') as edited,
            count(*) filter (where status = 'rejected') as rejected
        from ai_suggestions where job_id = any(%s) group by job_id having count(reviewed_at) > 0
    ) as counted
    where generations.job_id = counted.job_id
"""


def insert(conn: Connection, user_id: UUID, job_id: UUID, deck_id: UUID | None, cards: list[NewSuggestion]) -> int:
    """Keep the cards, but none whose front the deck has already; return how many the job has by then."""
    conn.execute(
        _INSERT,
        {
            "job_id": job_id,
            "user_id": user_id,
            "deck_id": deck_id,
            "fronts": [card.front for card in cards],
            "backs": [card.back for card in cards],
            "hashes": [card.front_hash for card in cards],
            "quotes": [card.grounding and card.grounding.quote for card in cards],
            "starts": [card.grounding and card.grounding.start for card in cards],
            "ends": [card.grounding and card.grounding.end for card in cards],
            "grounded": [card.grounding and card.grounding.grounded for card in cards],
            "sections": [card.section for card in cards],
            "titles": [card.section_title for card in cards],
        },
    )
    return _count(conn, job_id)


def find(pool: Pool, user_id: UUID, job_id: UUID, *, status: str | None = None, after: int = 0) -> list[SuggestionRow]:
    """Return the suggestions of a job of the user's, in order, those ``after`` a position.

    Raises ``NotFound``, also once they are erased.
    """
    with as_user(pool, user_id) as conn:
        job = conn.execute(
            "select erased_at is not null from recto.jobs where user_id = %s and id = %s", (user_id, job_id)
        ).fetchone()
        if job is None:
            raise NotFound("There is no such generation.")
        if job[0]:
            raise NotFound("The suggestions of this generation have been erased.")
        return read(conn, user_id, job_id, status=status, after=after)


def read(
    conn: Connection, user_id: UUID, job_id: UUID, *, status: str | None = None, after: int = 0
) -> list[SuggestionRow]:
    """``find`` in the caller's transaction, without looking at the job."""
    with conn.cursor(row_factory=class_row(SuggestionRow)) as cursor:
        return cursor.execute(
            'select id, job_id, position, front, back, status, created_at, quote, start, "end", grounded, section,'
            " section_title from ai_suggestions"
            " where user_id = %s and job_id = %s and (%s::text is null or status = %s) and position > %s"
            " order by position",
            (user_id, job_id, status, status, after),
        ).fetchall()


def review(pool: Pool, user_id: UUID, reviews: list[Review], *, job_id: UUID | None = None) -> list[SuggestionRow]:
    """Record the user's decisions, all or none, and return the suggestions in the order of ``reviews``.

    The counts of the analytics rows follow. Raises ``NotFound`` if one is not the user's, or not of
    ``job_id``. A decision may be changed.
    """
    ids = [review.id for review in reviews]
    with as_service(pool, user_id) as conn:
        locked = conn.execute(_LOCK_JOBS, {"user_id": user_id, "ids": ids, "job_id": job_id}).fetchall()
        with conn.cursor(row_factory=class_row(SuggestionRow)) as cursor:
            rows = cursor.execute(
                _REVIEW,
                {
                    "user_id": user_id,
                    "ids": ids,
                    "statuses": [review.status for review in reviews],
                    "fronts": [review.front for review in reviews],
                    "backs": [review.back for review in reviews],
                },
            ).fetchall()
        jobs = {row[0] for row in locked}
        by_id = {row.id: row for row in rows if row.job_id in jobs}
        if any(review.id not in by_id for review in reviews):
            raise NotFound("There is no such suggestion.")
        count_reviewed(conn, list(jobs))
    return [by_id[review.id] for review in reviews]


def count_reviewed(conn: Connection, job_ids: list[UUID]) -> None:
    """Bring the analytics rows of jobs up to date with what is reviewed of them by now, if anything is."""
    conn.execute(_COUNT, (job_ids,))


def of_deck(pool: Pool, user_id: UUID, deck_id: UUID, *, after: Place, limit: int) -> list[SuggestionRow]:
    """Return up to ``limit`` pairs of the user's deck, oldest first, after a place. Raises ``NotFound``."""
    with as_user(pool, user_id) as conn, conn.cursor(row_factory=class_row(SuggestionRow)) as cursor:
        if conn.execute("select from decks where user_id = %s and id = %s", (user_id, deck_id)).fetchone() is None:
            raise NotFound("There is no such deck.")
        return cursor.execute(
            'select id, job_id, position, front, back, status, created_at, quote, start, "end", grounded, section,'
            " section_title from ai_suggestions"
            " where user_id = %s and deck_id = %s and (created_at, job_id, position) > (%s, %s, %s)"
            " order by created_at, job_id, position limit %s",
            (user_id, deck_id, *after, limit),
        ).fetchall()


def fronts_of_deck(pool: Pool, user_id: UUID, deck_id: UUID) -> list[str]:
    """Return the fronts that the deck has, oldest first; of an edited one also what the model wrote."""
    with as_service(pool, user_id) as conn:
        rows = conn.execute(
            "select written_front, front from ai_suggestions where user_id = %s and deck_id = %s"
            " order by created_at, job_id, position",
            (user_id, deck_id),
        ).fetchall()
    return [front for row in rows for front in row if front is not None]


def count(pool: Pool, user_id: UUID, job_id: UUID) -> int:
    """Return how many suggestions the job has."""
    with as_service(pool, user_id) as conn:
        return _count(conn, job_id)


def _count(conn: Connection, job_id: UUID) -> int:
    row = conn.execute("select count(*) from ai_suggestions where job_id = %s", (job_id,)).fetchone()
    return int(row[0]) if row else 0
