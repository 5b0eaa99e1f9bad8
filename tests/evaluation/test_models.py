"""Models compared, over the sandbox's real HTTP."""

import json
from decimal import Decimal

import pytest
from pydantic_core import to_json
from tests.conftest import SOURCE_TEXT

from recto.evaluation import models
from recto.evaluation.models import OVER_BUDGET, PRICE_UNKNOWN, SUCCEEDED, compare
from recto.evaluation.scores import notes, scores, scores_table
from recto.evaluation.tables import plain
from recto.providers import deadline
from recto.providers.openrouter import OpenRouter
from recto.sandbox.server import start
from recto.text.options import Options
from recto.text.proposals import Bounds
from recto.text.source import SourceText

USD_PER_TOKEN = 1e-6
MAX_TOKENS = 1000
POLISH = (
    "Mikołaj Kopernik był polskim astronomem. W 1543 roku ukazało się jego dzieło o obrotach sfer niebieskich. " * 12
)


@pytest.fixture
def priced():
    """A sandbox of its own, whose streams come at once and whose tokens cost something."""
    with start(chunks_per_second=0, usd_per_token=USD_PER_TOKEN) as server:
        yield server


def spent(server):
    """What the sandbox's completions cost together."""
    return sum(Decimal(str(generation.cost)) for generation in server.generations._kept.values())


def asked(server, *names, texts=(SOURCE_TEXT,), count=None, budget_usd=1, usd_per_million=None, timeout_ms=5000):
    provider = OpenRouter(
        deadline.session(),
        base_url=server.base_url,
        api_key="key",
        timeout_ms=timeout_ms,
        max_tokens=MAX_TOKENS,
        quick_retry=False,
    )
    return list(
        compare(
            provider,
            names,
            {f"{number}.txt": SourceText(text) for number, text in enumerate(texts)},
            bounds=Bounds(),
            options=Options(count=count),
            max_tokens=MAX_TOKENS,
            budget_usd=Decimal(str(budget_usd)),
            usd_per_million=usd_per_million,
        )
    )


def test_a_good_model_and_its_cards_are_counted(priced):
    (run,) = asked(priced, "sandbox/extractive", count=3)
    assert (run.outcome, run.written, run.kept, run.grounded, run.unread) == (SUCCEEDED, 3, 3, 3, 0)
    assert run.keeps_language is True
    assert 0 <= run.first_ms <= run.last_ms
    assert (run.cost_usd, run.untold) == (spent(priced), 0)
    assert run.cost_usd > 0
    (row,) = scores([run], count=3)
    assert (row.kept, row.wanted, row.first_ms, row.last_ms) == (3, 3, run.first_ms, run.last_ms)
    assert row.cost_usd_per_kept_card == pytest.approx(float(run.cost_usd) / 3)


def test_what_models_spoil_is_counted(priced):
    spoilt = {run.model: run for run in asked(priced, "sandbox/duplicates", "sandbox/truncated", "sandbox/empty")}
    assert (spoilt["sandbox/duplicates"].duplicates, spoilt["sandbox/duplicates"].leaks) == (2, 1)
    assert (spoilt["sandbox/truncated"].outcome, spoilt["sandbox/truncated"].unread) == (SUCCEEDED, 1)
    assert spoilt["sandbox/empty"].outcome == "upstream_invalid_response"


def test_cards_in_another_language_than_the_text_are_told(priced, monkeypatch):
    monkeypatch.setattr(models, "detect_in", lambda _: "en")
    runs = asked(priced, "sandbox/extractive", texts=[SOURCE_TEXT, POLISH])
    assert [run.keeps_language for run in runs] == [True, False]


def test_a_model_that_fails_has_a_row_and_the_others_go_on(priced):
    runs = asked(priced, "sandbox/http-402", "sandbox/close-mid-body", "sandbox/extractive", texts=[SOURCE_TEXT] * 2)
    assert [(run.text, run.outcome) for run in runs] == [
        (text, outcome)
        for text in ("0.txt", "1.txt")
        for outcome in ("upstream_http_error_402", "upstream_connection_error", SUCCEEDED)
    ]
    refused, broken, good = scores(runs, None)
    assert (refused.kept, refused.cost_usd, refused.untold) == (0, 0, 0)  # a refusal costs nothing
    assert broken.kept > 0
    assert broken.cost_usd > 0  # asked for afterwards
    assert good.failures == {}
    said = plain(scores_table([refused, broken, good])) + "\n".join(notes([refused, broken, good]))
    assert "sandbox/http-402 failed: upstream_http_error_402 (2)" in said
    assert len(said.splitlines()[2]) <= 120


@pytest.mark.parametrize("count", [None, 15])
@pytest.mark.parametrize("budget_usd", [0, 0.005, 0.01])
def test_a_budget_is_never_passed_and_it_is_said_who_was_not_asked(priced, budget_usd, count):
    runs = asked(
        priced, "sandbox/extractive", "sandbox/fenced", texts=[SOURCE_TEXT] * 9, count=count, budget_usd=budget_usd
    )
    assert spent(priced) <= budget_usd
    assert sum(run.cost_usd for run in runs) == spent(priced)
    assert len(runs) == 18
    not_asked = [run.text for run in runs if run.outcome == OVER_BUDGET]
    assert not_asked == [f"{number}.txt" for number in range(9) for _ in range(2)][18 - len(not_asked) :]
    assert [run.outcome for run in runs].count(SUCCEEDED) == 18 - len(not_asked)
    assert not_asked
    assert "not asked, for want of budget" in "\n".join(notes(scores(runs, count)))


@pytest.mark.parametrize(("count", "calls"), [(None, 1), (15, 2)])
def test_a_question_is_asked_if_there_is_money_for_all_calls_that_it_may_take(priced, count, calls):
    tokens_read = models._most_tokens_read(SourceText(SOURCE_TEXT), Bounds(), Options(count=count))
    enough_usd = calls * (tokens_read + MAX_TOKENS) * Decimal("0.000001")
    (run,) = asked(priced, "sandbox/extractive", count=count, budget_usd=enough_usd - Decimal("1e-9"))
    assert run.outcome == OVER_BUDGET
    assert priced.generations._kept == {}
    (run,) = asked(priced, "sandbox/extractive", count=count, budget_usd=enough_usd)
    assert run.outcome == SUCCEEDED
    assert len(priced.generations._kept) == calls


@pytest.mark.parametrize("text", [SOURCE_TEXT, POLISH, "Gefüge 😀 水 " * 900])
def test_no_prompt_is_longer_than_what_is_set_aside_for_it(priced, monkeypatch, text):
    """Neither the first one nor the one for the rest, which also names the cards that came."""
    lengths = []
    complete = OpenRouter.complete

    def recording(self, **asked):
        lengths.append(len(f"{asked['system']}{asked['user']}{to_json(asked['schema']).decode()}".encode()))
        return complete(self, **asked)

    monkeypatch.setattr(OpenRouter, "complete", recording)
    asked(priced, "sandbox/extractive", texts=[text], count=15)
    assert len(lengths) == 2
    assert max(lengths) <= models._most_tokens_read(SourceText(text), Bounds(), Options(count=15))


def test_what_is_not_told_stays_spent(priced):
    """Of a call that was broken off, and that the provider does not know, the most that it may have cost is taken."""
    runs = asked(priced, "sandbox/timeout", "sandbox/extractive", budget_usd=0.006, timeout_ms=300)
    assert [run.outcome for run in runs] == ["upstream_timeout", OVER_BUDGET]
    assert runs[0].untold == 1
    assert "was not told" in "\n".join(notes(scores(runs, None)))


def test_a_model_without_a_known_price_is_asked_only_at_a_price_that_the_caller_names(priced):
    (run,) = asked(priced, "sandbox/nope")
    assert run.outcome == PRICE_UNKNOWN
    assert priced.generations._kept == {}
    assert "--usd-per-million" in "\n".join(notes(scores([run], None)))
    (run,) = asked(priced, "sandbox/nope", usd_per_million=Decimal(1))
    assert run.outcome == "upstream_http_error_400"


def test_scores_are_json(priced):
    runs = asked(priced, "sandbox/extractive", "sandbox/nope")
    good, unknown = json.loads(to_json(scores(runs, None)))
    assert (good["model"], good["wanted"], good["not_asked"]) == ("sandbox/extractive", None, {})
    assert unknown["not_asked"] == {"price_unknown": ["0.txt"]}
