import csv
import io
import sqlite3
import tempfile
import zipfile

import pytest

from recto.exports import to_anki, to_csv

CARDS = [("What is a leaf's front?", "Its recto"), ('<b>"a", b</b>\n&', "x\ny")]


def notes(package, tmp_path):
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        archive.extract("collection.anki2", tmp_path)
    with sqlite3.connect(tmp_path / "collection.anki2") as conn:
        rows = conn.execute("select guid, flds from notes order by id").fetchall()
        decks = conn.execute("select decks from col").fetchone()[0]
    conn.close()
    return rows, decks


def test_csv_is_read_back_as_it_was():
    assert list(csv.reader(io.StringIO(to_csv(CARDS), newline=""))) == [["front", "back"], *map(list, CARDS)]


def test_an_anki_deck_shows_text_as_it_is(tmp_path):
    rows, decks = notes(to_anki(CARDS, "History"), tmp_path)
    fields = [flds.split("\x1f") for _, flds in rows]
    assert fields[0] == ["What is a leaf&#x27;s front?", "Its recto"]
    assert fields[1] == ["&lt;b&gt;&quot;a&quot;, b&lt;/b&gt;<br>&amp;", "x<br>y"]
    assert '"History"' in decks


def test_an_export_leaves_no_file_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    to_anki(CARDS, "History")
    assert list(tmp_path.iterdir()) == []


def test_a_newer_export_of_a_deck_updates_its_notes(tmp_path):
    old, _ = notes(to_anki([("front", "old")], "History"), tmp_path)
    new, _ = notes(to_anki([("front", "new")], "History"), tmp_path)
    other, _ = notes(to_anki([("front", "new")], "Biology"), tmp_path)
    assert old[0][0] == new[0][0] != other[0][0]


def test_the_export_is_a_file_of_the_cards_in_the_request(client, tmp_path):
    cards = [{"front": front, "back": back} for front, back in CARDS]
    response = client.post("/exports/anki", json={"deck_name": "History", "flashcards": cards})
    assert response.status_code == 200
    assert response.headers["Content-Disposition"] == 'attachment; filename="recto.apkg"'
    assert len(notes(response.data, tmp_path)[0]) == 2


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"flashcards": []},
        {"flashcards": [{"front": "a"}]},
        {"flashcards": [{"front": "a", "back": ""}]},
        {"flashcards": [{"front": "a", "back": 7}]},
        {"flashcards": [{"front": "a", "back": "b"}] * 1001},
        {"flashcards": [{"front": "a", "back": "b"}], "deck_name": " "},
    ],
    ids=range(7),
)
def test_what_is_no_deck_is_refused(client, body):
    response = client.post("/exports/anki", json=body)
    assert response.status_code == 400
    assert response.json["error"] == "invalid_request"
