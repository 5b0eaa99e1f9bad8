"""A deck of 200,000 characters whose worker is killed in its middle: no section is asked twice without need."""

from collections import Counter
from dataclasses import asdict, replace
from uuid import uuid4

import psycopg
import pytest

from recto.db import claims
from recto.db.starts import NewJob, create
from recto.jobs.run import run
from recto.runtime import openrouter
from recto.text.deck import plan
from recto.text.source import SourceText

from .conftest import until

CHAPTERS, COUNT = 23, 200
TAGS = [f"tag-chapter-{number}-" for number in range(CHAPTERS)]
TEXT = "".join(f"# {tag}\n\n{'A fact. ' * 1100}"[:8694].strip() + "\n\n" for tag in TAGS)[:200_000].strip()
MIDDLE = 11


@pytest.fixture
def deck_id():
    return uuid4()


@pytest.fixture
def start_deck(deck_id):
    """Queue the deck in a pool's database."""

    def start(pool, user_id):
        payload = {"source_text": TEXT, "count": COUNT, "banlist": [], "model": "m", "prompt_version": "2"}
        source = SourceText(TEXT, 200_000)
        sections = [asdict(part) for part in plan(source.text, COUNT)]
        new = NewJob("deck", payload, source.hash, source.length, deck_id=deck_id, sections=sections)
        return create(pool, user_id, new, quota=None)

    return start


def assert_all_is_there_once(query, provider, killed):
    assert provider.calls == Counter(TAGS) + Counter([killed])  # 24 calls: one section twice, in which it was killed
    (counted,) = query("select count(*), count(distinct front_hash) as fronts, max(position) from ai_suggestions")
    assert counted == {"count": COUNT, "fronts": COUNT, "max": COUNT}
    cards = query('select section, section_title, start, "end", quote from ai_suggestions order by position')
    assert [card["section"] for card in cards] == sorted(card["section"] for card in cards)
    assert Counter(card["section_title"] for card in cards).keys() == set(TAGS)
    assert all(TEXT[card["start"] : card["end"]] == card["quote"] for card in cards)
    (job,) = query("select status, sections, incomplete from recto.jobs")
    assert (job["status"], job["incomplete"]) == ("succeeded", None)
    assert {section["outcome"] for section in job["sections"]} == {"complete"}
    assert sum(section["cards"] for section in job["sections"]) == COUNT
    assert query("select error_code from generation_error_logs") == [{"error_code": "worker_lost"}]


@pytest.mark.soak
def test_a_killed_worker_is_followed_by_one_that_goes_on(jobs, provider, start_worker, start_deck):
    with start_worker() as killed:
        start_deck(jobs.pool, uuid4())
        until(lambda: provider.calls[TAGS[MIDDLE - 1]])
        provider.gate.clear()
        before = sum(provider.calls.values())
        until(lambda: provider.open and sum(provider.calls.values()) > before)
        asked = [tag for tag in TAGS if provider.calls[tag]]
        killed.kill()
    provider.gate.set()
    with start_worker():
        until(lambda: jobs.rows("select 1 from generation_jobs where status = 'succeeded'"))
    assert_all_is_there_once(jobs.rows, provider, asked[-1])


def test_an_attempt_that_dies_is_followed_by_one_that_goes_on(client, provider, start_deck, monkeypatch):
    """The same in this process, whose attempt ends in the middle of a call without a word to the database."""
    runtime = replace(client.runtime, openrouter=openrouter(client.runtime.settings, quick_retry=False))
    complete = runtime.openrouter.complete

    def dies(**named):
        answer = complete(**named)
        if provider.calls[TAGS[MIDDLE]]:
            raise SystemExit
        return answer

    start_deck(runtime.pool, client.user_id)
    with monkeypatch.context() as patched:
        patched.setattr(runtime.openrouter, "complete", dies)
        with pytest.raises(SystemExit):
            run(runtime, client.claim())
    with psycopg.connect(runtime.settings.database_url) as conn:
        conn.execute("update generation_jobs set lease_until = now() - interval '1 s'")
    assert claims.recover_abandoned(runtime.pool)
    read = client.get(f"/ai/generations/{client.rows('generation_jobs')[0]['id']}").json
    assert (read["status"], read["sections"], read["sections_done"]) == ("pending", CHAPTERS, MIDDLE)
    assert read["sections_without_cards"] == []
    assert client.work() == ["succeeded"]
    assert_all_is_there_once(client.query, provider, TAGS[MIDDLE])
