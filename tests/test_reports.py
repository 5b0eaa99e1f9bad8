"""The operator's table."""

from dataclasses import replace
from datetime import UTC, datetime

from recto.db.stats import ModelStats, Stats
from recto.reports import WIDTH, draw

SINCE = datetime(2026, 10, 28, tzinfo=UTC)
GOOD = ModelStats(
    "openai/gpt-4o-mini",
    "2",
    "pl",
    generations=120,
    failures=3,
    proposed=1440,
    dropped={"leak": 3, "duplicate": 12},
    accepted_unedited=900,
    accepted_edited=100,
    rejected=40,
    grounded=97,
    grounding_known=100,
    tokens_input=180_000,
    tokens_output=20_000,
    cost_usd=0.25,
    tokens_per_kept_card=200.0,
    cost_usd_per_kept_card=0.00025,
    median_first_proposal_ms=740,
)
BAD = ModelStats("some/other", None, None, failures=7)


def table(*models):
    return draw(Stats(30, SINCE, list(models), []))


def test_each_model_has_its_figures_below_its_name():
    assert table(GOOD, replace(GOOD, language="de", dropped={}), BAD) == (
        "Since 2026-10-28 (UTC)\n"
        "\n"
        "prompt  lang  made  failed  cards  as is  edited  rejected  grounded   USD  tok/kept  USD/kept  first s\n"
        "openai/gpt-4o-mini\n"
        "     2    pl   120       3   1440    900     100        40       97%  0.25       200   0.00025      0.7\n"
        "        dropped: 12 duplicate, 3 leak\n"
        "     2    de   120       3   1440    900     100        40       97%  0.25       200   0.00025      0.7\n"
        "some/other\n"
        "     –     –     0       7      0      0       0         0         –     –         –         –        –"
    )


def test_nothing_is_said_in_a_line():
    assert table() == "Nothing was generated since 2026-10-28 (UTC)."


def test_it_fits_a_terminal():
    reasons = ("control_character", "front_is_back", "incomplete", "not_text", "too_long", "duplicate")
    large = replace(
        GOOD,
        model="a/model" * 25,
        language="zh-Hant",
        generations=999_999,
        failures=999_999,
        proposed=9_999_999,
        accepted_unedited=999_999,
        accepted_edited=999_999,
        dropped={f"{reason}_{n}": 1_000_000 for reason in reasons for n in (1, 2)},
        cost_usd=100_000.0,
        cost_usd_per_kept_card=10.0,
        median_first_proposal_ms=600_000,
    )
    lines = table(large).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert lines[3].startswith("a/model")
