"""A job's attempt as its runner ends or continues it.

Every function is one transaction. It first records the calls, whoever owns the job by then: they were paid for. It then
locks the job and goes on only if this attempt still owns it; else it returns None or False. Each may be repeated after
a commit whose acknowledgement was lost: it finds what it wrote and returns the same.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from recto.calls import Call
from recto.db import jobs, suggestions, usage
from recto.db.calls import open_call, record_calls
from recto.db.claims import Attempt
from recto.db.failures import Failure, end_as_failed, log_failure
from recto.db.jobs import MAX_ATTEMPTS, JobRow, record_event
from recto.db.pool import Pool, as_service
from recto.db.suggestions import NewSuggestion, SuggestionRow
from recto.db.usage import Usage
from recto.text.deck import COMPLETE


class Results(NamedTuple):
    """What a job brought. ``suggestions`` and ``usage`` are read only for a caller who waits."""

    job: JobRow
    suggestions: list[SuggestionRow]
    usage: Usage | None


class Batch(NamedTuple):
    """A committed batch: how many suggestions the job has by now, and its results if that ended it."""

    stored: int
    results: Results | None


# The analytics row: sums over all attempts, milliseconds of the calls that brought the cards.
_RECORD = """
    insert into generations (user_id, job_id, model, generated_count, source_text_hash, source_text_length,
        generation_duration, prompt_version, tokens_input, tokens_output, cost_usd, is_topic, dropped, incomplete,
        grounded_count, language)
    select job.user_id, job.id, coalesce(job.model, stored.payload ->> 'model'), job.suggestions_count,
        job.source_text_hash, job.source_text_length,
        (select coalesce(sum(duration_ms), 0) from generation_attempts attempt
            where attempt.job_id = job.id and outcome = 'succeeded'),
        job.prompt_version, job.tokens_input, job.tokens_output, job.cost_usd, stored.payload ? 'topic',
        job.dropped, job.incomplete,
        (select count(*) filter (where grounded) from ai_suggestions suggestion
            where suggestion.job_id = job.id having count(grounded) > 0),
        job.language
    from recto.jobs job join generation_jobs stored using (id) where job.id = %s
    on conflict (job_id) do nothing
"""


def begin_call(pool: Pool, attempt: Attempt, call: int) -> bool:
    """Record that the attempt is about to make another call, so that it is known if the process dies in it."""
    with as_service(pool, attempt.user_id) as conn:
        if lock_owned(conn, attempt) is None:
            return False
        open_call(conn, attempt.job_id, call)
        return True


def add_batch(
    pool: Pool,
    attempt: Attempt,
    cards: list[NewSuggestion],
    calls: Sequence[Call],
    *,
    first_call: int,
    enough: int,
    dropped: Mapping[str, int],
    incomplete: str | None,
    language: str | None,
    quota: int | None,
    section: int | None = None,
    on_success: Callable[[Connection, Results], None] | None = None,
) -> Batch | None:
    """Commit cards and the calls that brought them; the next batch has all of its attempts before it.

    The job succeeds once it has ``enough`` suggestions: with its analytics row, debit and event, and without its texts.
    Of a text that is asked in parts these are the cards of its ``section``, which then ends, and the job with the last
    one. ``first_call`` numbers the calls within the attempt; ``dropped`` adds to what the job's batches dropped, and
    ``incomplete`` says why the model wrote no more; ``language`` is that of the cards. ``quota`` is the user's monthly
    limit, for the results. ``on_success`` is part of the transaction.
    """
    with as_service(pool, attempt.user_id) as conn:
        record_calls(conn, attempt.job_id, attempt.number, calls, first_call)
        if lock_owned(conn, attempt) is None:
            stored = _stored_before(conn, attempt)
            if stored is None:
                return None
            ended = True
        else:
            stored = suggestions.insert(conn, attempt.user_id, attempt.job_id, attempt.deck_id, cards)
            conn.execute(
                "update generation_jobs set dropped = recto.add_counts(dropped, %s), incomplete = %s,"
                " language = coalesce(%s, language) where id = %s",
                (Jsonb(dropped), incomplete, language, attempt.job_id),
            )
            ended = stored >= enough
            if section is not None:
                outcome = (incomplete or COMPLETE) if ended else None
                ended = _record_section(conn, attempt.job_id, section, outcome)
            if ended:
                _succeed(conn, attempt)
        if ended:
            results = _results(conn, attempt, quota)
            if on_success:
                on_success(conn, results)
            return Batch(stored, results)
        # What brings nothing, again and again, must come to an end.
        conn.execute(
            "update generation_jobs set attempts_left = case when %s then %s else attempts_left end where id = %s",
            (bool(cards), MAX_ATTEMPTS - 1, attempt.job_id),
        )
        return Batch(stored, None)


def fail(
    pool: Pool,
    attempt: Attempt,
    failure: Failure,
    calls: Sequence[Call],
    *,
    first_call: int,
    retry_in_s: Callable[[int], float] | None,
) -> JobRow | None:
    """Log why the attempt failed and return the job: pending again while attempts are left, else failed.

    ``retry_in_s``: seconds until the next attempt, given how many are left; None if it would fail again.
    """
    with as_service(pool, attempt.user_id) as conn:
        record_calls(conn, attempt.job_id, attempt.number, calls, first_call)
        conn.execute(
            "update generation_attempts set outcome = %s where job_id = %s and number = %s and outcome is null",
            (failure.log_code, attempt.job_id, attempt.number),
        )
        attempts_left = lock_owned(conn, attempt)
        if attempts_left is None:
            job = _job(conn, attempt)
            repeated = job and job.attempts == attempt.number and (job.error or {}).get("log_code") == failure.log_code
            return job if repeated else None
        log_failure(conn, attempt.job_id, failure)
        if retry_in_s is not None and attempts_left > 0:
            conn.execute(
                "update generation_jobs set status = 'pending', run_at = now() + %s, holder = null, lease_until = null,"
                " error = %s where id = %s",
                (timedelta(seconds=retry_in_s(attempts_left)), failure.to_json(), attempt.job_id),
            )
        else:
            end_as_failed(conn, attempt.job_id, failure)
        return _job(conn, attempt)


def hand_back(pool: Pool, attempt: Attempt, *, in_s: float = 0) -> bool:
    """Return a job to the workers, due in so many seconds; the attempt is not counted against it.

    A deck is returned between two batches, a picture until it is time to look again.
    """
    with as_service(pool, attempt.user_id) as conn:
        if lock_owned(conn, attempt) is None:
            return False
        conn.execute(
            "update generation_jobs set status = 'pending', run_at = now() + %s, holder = null, lease_until = null,"
            " attempts_left = attempts_left + 1 where id = %s",
            (timedelta(seconds=in_s), attempt.job_id),
        )
        return True


def lock_owned(conn: Connection, attempt: Attempt) -> int | None:
    """Lock the job if the attempt still owns it and return how many attempts are left; else None."""
    row = conn.execute(
        "select attempts_left from generation_jobs"
        " where id = %s and status = 'running' and holder = %s and attempts = %s for update",
        (attempt.job_id, attempt.holder, attempt.number),
    ).fetchone()
    return row[0] if row else None


def _stored_before(conn: Connection, attempt: Attempt) -> int | None:
    """Count the suggestions if this attempt committed its success without hearing of it; else None."""
    job = _job(conn, attempt)
    succeeded = job is not None and job.status == "succeeded" and job.attempts == attempt.number
    return job.suggestions_count if job and succeeded and not job.erased_at else None


def _record_section(conn: Connection, job_id: UUID, section: int, outcome: str | None) -> bool:
    """Note how many cards the section has, and its outcome; return whether all sections have one."""
    row = conn.execute(
        "update generation_jobs set sections = jsonb_set(sections, array[%(place)s::text],"
        " sections -> %(place)s || jsonb_build_object('outcome', %(outcome)s::text, 'cards',"
        " (select count(*) from ai_suggestions where job_id = %(job_id)s and section = %(section)s)))"
        " where id = %(job_id)s returning (select bool_and(part ->> 'outcome' is not null)"
        " from jsonb_array_elements(sections) part)",
        {"job_id": job_id, "section": section, "place": section - 1, "outcome": outcome},
    ).fetchone()
    return bool(row and row[0])


def _succeed(conn: Connection, attempt: Attempt) -> None:
    conn.execute(_RECORD, (attempt.job_id,))
    suggestions.count_reviewed(conn, [attempt.job_id])
    conn.execute(
        "update generation_jobs set status = 'succeeded', error = null, payload = recto.without_texts(payload),"
        " holder = null, lease_until = null, finished_at = now() where id = %s",
        (attempt.job_id,),
    )
    usage.debit(conn, attempt.user_id, attempt.job_id, attempt.kind)
    record_event(conn, attempt.user_id, attempt.job_id, "ai_generation_succeeded")


def _results(conn: Connection, attempt: Attempt, quota: int | None) -> Results:
    job = jobs.read(conn, attempt.user_id, attempt.job_id)
    if attempt.in_background:
        return Results(job, [], None)
    return Results(
        job, suggestions.read(conn, attempt.user_id, attempt.job_id), usage.read(conn, attempt.user_id, quota)
    )


def _job(conn: Connection, attempt: Attempt) -> JobRow | None:
    with conn.cursor(row_factory=class_row(JobRow)) as cursor:
        return cursor.execute("select * from recto.jobs where id = %s", (attempt.job_id,)).fetchone()
