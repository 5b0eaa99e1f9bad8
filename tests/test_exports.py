import csv
import html
import io
import json
import re
import sqlite3
import tempfile
import zipfile
from contextlib import closing

import pytest
from anki.collection import Collection, ImportAnkiPackageRequest, ImportCsvRequest

from recto.exports import to_anki, to_csv

DECK_ID = 1_396_150_368  # of "History"
NOTE_ID = "s:n}cvNs?Q"  # of "front" in it

CARDS = [("What is a leaf's front?", "Its recto"), ('<b>"a", b</b>\n&', "x\ny")]


def notes(package, tmp_path):
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        archive.extract("collection.anki2", tmp_path)
    with sqlite3.connect(tmp_path / "collection.anki2") as conn:
        rows = conn.execute("select guid, flds from notes order by id").fetchall()
        decks = conn.execute("select decks from col").fetchone()[0]
    conn.close()
    return rows, decks


def read(text):
    """The cards of a CSV, below the lines for Anki."""
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert [row[0] for row in rows[:3]] == ["\ufeff#separator:Comma", "#html:false", "#columns:Front"]
    return rows[3:]


def test_csv_is_read_back_as_it_was():
    assert read(to_csv(CARDS)) == [*map(list, CARDS)]


@pytest.fixture
def collection(tmp_path):
    """A learner's collection in Anki's own library."""
    collection = Collection(str(tmp_path / "collection.anki2"))
    yield collection
    collection.close()


HOSTILE = [
    ("What: is, it;\there?", 'a "b"\nc'),
    ("#html:true", "<b>not bold</b>"),
    ("Play [sound:x.mp3]", "[anki:play:q:0] [latex]x[/latex] `[sound:y.mp3]`"),
]


def test_anki_imports_a_csv_with_its_defaults(collection, tmp_path):
    (tmp_path / "cards.csv").write_text(to_csv(HOSTILE), newline="")
    metadata = collection.get_csv_metadata(str(tmp_path / "cards.csv"), None)
    collection.import_csv(ImportCsvRequest(path=str(tmp_path / "cards.csv"), metadata=metadata))
    notes = [collection.get_note(note_id).fields for note_id in sorted(collection.find_notes(""))]
    assert notes[0] == ["What: is, it;\there?", "a &quot;b&quot;<br>c"]
    assert notes[1] == ["#html:true", "&lt;b&gt;not bold&lt;/b&gt;"]
    assert len(notes) == 3


def test_anki_imports_a_deck_and_shows_its_text_as_it_is(collection, tmp_path):
    (tmp_path / "deck.apkg").write_bytes(to_anki([*HOSTILE, ("A ____ [sound:z.mp3].", "leaf")], "Deck", clozes={3}))
    collection.import_anki_package(ImportAnkiPackageRequest(package_path=str(tmp_path / "deck.apkg")))
    cards = [collection.get_card(card_id) for card_id in sorted(collection.find_cards(""))]
    assert [collection.decks.name(card.did) for card in cards] == ["Deck"] * 4
    assert [card.question_av_tags() + card.answer_av_tags() for card in cards] == [[]] * 4
    shown = [html.unescape(re.sub("<[^>]*>", "", card.render_output().answer_text)) for card in cards]
    assert "<b>not bold</b>" in shown[1]
    assert "Play [sound:x.mp3]" in shown[2]
    assert "[anki:play:q:0] [latex]x[/latex] [sound:y.mp3]" in shown[2]
    assert "A leaf [sound:z.mp3]." in shown[3]


def test_an_anki_deck_shows_text_as_it_is(tmp_path):
    rows, decks = notes(to_anki(CARDS, "History"), tmp_path)
    fields = [flds.split("\x1f") for _, flds in rows]
    assert fields[0] == ["What is a leaf&#x27;s front?", "Its recto"]
    assert fields[1] == ["&lt;b&gt;&quot;a&quot;, b&lt;/b&gt;<br>&amp;", "x<br>y"]
    assert '"History"' in decks


def test_maths_and_code_are_in_the_form_that_anki_shows(tmp_path):
    card = ("Is $a<b$ for $5?\n$$\na\n$$", "`<i>`\n```py\nif a:\n    b\n```")
    ((_, flds),), _ = notes(to_anki([card], "History"), tmp_path)
    assert flds.split("\x1f") == [
        r"Is \(a&lt;b\) for $5?\[" + "\na\n" + r"\]",
        "<code>&lt;i&gt;</code><pre>if a:\n    b</pre>",
    ]


@pytest.mark.parametrize(
    "text", ["=1+1", " =1+1", "+1", "-1", "@a", "＝1", "＋1", "－1", "＠a", "\t=1", "\ta", "\ra", "\na", "\ufeff=1+1"]
)
def test_no_cell_of_a_csv_is_a_formula(text):
    (row,) = read(to_csv([(text, text)]))
    assert row == [f"'{text}"] * 2


@pytest.mark.parametrize("text", ["1+1=2", "a-b", "a\tb", " a", "", "e@mail"])
def test_any_other_cell_of_a_csv_is_left_as_it_is(text):
    (row,) = read(to_csv([(text, text)]))
    assert row == [text] * 2


def test_control_characters_do_not_reach_an_anki_deck(tmp_path):
    controls = "".join(map(chr, [*range(32), *range(0x7F, 0xA0)]))
    rows, decks = notes(to_anki([(f"a{controls}b", f"c{controls}d")], f"His{controls}tory"), tmp_path)
    (plain, _), (same, _) = (notes(to_anki([(front, "x")], "H"), tmp_path) for front in ("ab", "a\x1f\x00b"))
    assert rows[0][1] == "a\t<br>b\x1fc\t<br>d"
    assert "His\t\ntory" in [deck["name"] for deck in json.loads(decks).values()]
    assert plain[0][0] == same[0][0]


def test_ids_of_decks_and_notes_are_the_same_in_every_version(tmp_path):
    rows, decks = notes(to_anki([("front", "back")], "History"), tmp_path)
    assert {int(id_): deck["name"] for id_, deck in json.loads(decks).items() if id_ != "1"} == {DECK_ID: "History"}
    assert [guid for guid, _ in rows] == [NOTE_ID]
    with sqlite3.connect(tmp_path / "collection.anki2") as conn:
        assert conn.execute("select distinct mid from notes").fetchall() == [(1_294_848_366,)]
        assert conn.execute("select distinct did from cards").fetchall() == [(DECK_ID,)]
    conn.close()


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


def test_the_largest_deck_is_exported(client, tmp_path):
    cards = [{"front": "a" * 10_000, "back": "b" * 10_000}] + [{"front": "a", "back": "b"}] * 999
    response = client.post("/exports/anki", json={"deck_name": "x" * 100, "flashcards": cards})
    assert len(notes(response.data, tmp_path)[0]) == 1000


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
        {"flashcards": [{"front": "a", "back": "b"}], "deck_name": "\x1f \x00\x9f"},
        {"flashcards": [{"front": "a", "back": "b"}], "deck_name": ""},
        {"flashcards": [{"front": "a", "back": "b"}], "deck_name": "x" * 101},
        {"flashcards": [{"front": "", "back": "b"}]},
        {"flashcards": [{"front": "a" * 10_001, "back": "b"}]},
        {"flashcards": [{"front": "a", "back": "b" * 10_001}]},
    ],
    ids=range(13),
)
def test_what_is_no_deck_is_refused(client, body):
    response = client.post("/exports/anki", json=body)
    assert response.status_code == 400
    assert response.json["error"] == "invalid_request"


def test_a_cloze_card_is_a_cloze_note(client, tmp_path):
    cards = [
        {"front": "The Nile flows ____ & <far>.", "back": "north::{{c2::x}}", "style": "cloze"},
        {"front": "$a = ____$, ____", "back": r"$\frac{1}{b^{2}}$", "style": "cloze"},
        {"front": "No gap?", "back": "a question", "style": "cloze"},
        {"front": "A ____ in a question", "back": "gap"},
    ]
    package = client.post("/exports/anki", json={"flashcards": cards}).data
    with zipfile.ZipFile(io.BytesIO(package)) as unzipped:
        (tmp_path / "collection").write_bytes(unzipped.read("collection.anki2"))
    with closing(sqlite3.connect(tmp_path / "collection")) as conn:
        types = json.loads(conn.execute("select models from col").fetchone()[0])
        notes = conn.execute("select mid, flds from notes order by id").fetchall()
        assert conn.execute("select count(*) from cards").fetchone() == (4,)
    assert [types[str(note_type)]["type"] for note_type, _ in notes] == [1, 1, 0, 0]
    text, extra = notes[0][1].split("\x1f")
    assert text == "The Nile flows {{c1::north:&#58;{&#123;c2:&#58;x}&#125;}} &amp; &lt;far&gt;."
    assert extra == ""
    formula = r"\frac{1}{b^{2}&#125;"
    assert notes[1][1].split("\x1f")[0] == rf"\(a = {{{{c1::{formula}}}}}\), {{{{c1::\({formula}\)}}}}"
