"""Count, language, focus and style, on every door that starts a generation."""

from uuid import uuid4

import pytest

TEXT = (
    "The Rosetta Stone is a slab of granodiorite. It was found in July 1799 by French soldiers near Rashid. "
    "A cartouche is an oval frame that surrounds the name of a king. Champollion read the script in 1822. "
    "The stone weighs 760 kilograms. Thomas Young identified the name of Ptolemy in 1814. "
) * 5
DOORS = ["/generations", "/ai/generations", "/sessions/ai", "/decks/{}/generation"]


def ask(client, door, **options):
    body = {"source_text": TEXT} | ({"count": 3} if "decks" in door else {}) | options
    return client.post(door.format(uuid4()), json=body)


def cards(client, door, **options):
    """What the door brings in the end."""
    answer = ask(client, door, **options).json
    if "flashcards_proposals" in answer:
        return answer["flashcards_proposals"]
    if "session" in answer:
        return answer["session"]["proposals"]
    client.work()
    return client.get(f"/ai/generations/{answer['generation_id']}/suggestions").json["suggestions"]


@pytest.mark.parametrize("door", DOORS)
def test_as_many_cards_as_were_asked_for(client, door):
    assert len(cards(client, door, count=2)) == 2


@pytest.mark.parametrize("door", DOORS)
def test_cloze_cards_have_the_answer_left_out(client, door):
    made = cards(client, door, style="cloze")
    assert made
    for card in made:
        assert card["front"].replace("____", card["back"]) in TEXT


@pytest.mark.parametrize("door", DOORS)
def test_language_and_focus_are_taken(client, door):
    assert cards(client, door, language="pt-BR", focus=" the stone ")


def test_the_language_that_the_cards_are_in_is_told_where_one_was_asked_for(client):
    assert ask(client, "/generations").json["language"] is None
    answer = ask(client, "/generations", language="pl").json  # the sandbox's model writes in the text's own
    assert answer["language"] == "en"
    assert answer["dropped"]["other_language"] > 0


def test_jobs_tell_their_language_and_statistics_are_by_it(client):
    ask(client, "/generations")
    ask(client, "/generations", language="en")
    job_id = ask(client, "/ai/generations").json["generation_id"]
    client.work()
    assert client.get(f"/ai/generations/{job_id}").json["language"] == "en"
    counted = {row["language"]: row["generations"] for row in client.get("/stats").json["models"]}
    assert counted == {None: 1, "en": 2}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"language": "Portuguese!"}, "language"),
        ({"focus": " "}, "focus must be one line"),
        ({"focus": "a" * 201}, "focus must be one line"),
        ({"focus": "two\nlines"}, "focus must be one line"),
        ({"style": "essay"}, "style"),
        ({"count": 0}, "count"),
    ],
)
def test_what_cannot_be_is_refused(client, door, options, message):
    answer = ask(client, door, **options)
    assert answer.status_code == 400
    assert message in answer.json["message"]


@pytest.mark.parametrize("door", DOORS[:3])
def test_more_than_may_be_is_refused(client, door):
    answer = ask(client, door, count=16)
    assert (answer.status_code, answer.json["message"]) == (400, "count must be at most 15.")


@pytest.mark.parametrize("door", DOORS[1:])
def test_version_1_refuses_what_it_has_no_words_for(client, door):
    assert ask(client, door, prompt_version="1", language="de").status_code == 400
    assert ask(client, door, prompt_version="1").status_code in (200, 202)


def test_what_is_said_of_the_focus_is_erased_with_the_text(client):
    ask(client, "/ai/generations", focus="the stone", language="de", count=2)
    before = client.query("select payload from generation_jobs")[0]["payload"]
    assert (before["focus"], before["language"], before["count"]) == ("the stone", "de", 2)
    client.work()
    (after,) = client.query("select payload from generation_jobs")
    assert "focus" not in after["payload"]
    assert client.get("/ai/generations").json["generations"][0]["count"] == 2


def test_a_text_with_too_few_facts_says_that_the_model_stopped(client):
    answer = client.post(json={"source_text": "The Nile flows north. " * 60, "count": 9}).json
    assert answer["generated_count"] < 9
    assert answer["incomplete"] == "model_stopped"
