"""Flashcards as files: CSV and Anki decks."""

import csv
import io
import json
import re
import sqlite3
import zipfile
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from hashlib import sha256
from html import escape
from itertools import count
from time import time
from types import MappingProxyType
from uuid import UUID

import genanki

from recto.text.markup import Part, parts
from recto.text.options import GAP

# Anki knows a note type by its number, for ever; drawn at random once, as genanki's documentation advises.
_NOTE_TYPE_ID = 1_294_848_366
_CLOZE_NOTE_TYPE_ID = 1_873_052_764
_MIN_DECK_ID = 1 << 30

# Line breaks and tabs aside, control characters show nothing; U+001F ends a field in Anki's database.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Anki plays, speaks or typesets what begins so, wherever it stands.
_ANKI_TAG = re.compile(r"\[(?=(?:sound|anki):|latex\])", re.IGNORECASE)
# What Anki reads a CSV by (https://docs.ankiweb.net/importing/text-files.html#file-headers).
_CSV_HEAD = "#separator:Comma\r\n#html:false\r\n#columns:Front,Back\r\n"
# A spreadsheet runs a cell that begins like this (OWASP, "CSV Injection"); the apostrophe makes it text.
_FORMULA = re.compile(r"[\s\ufeff]*[=+\-@＝＋－＠]|[\t\r\n]")

_CSS = (
    ".card { font-family: sans-serif; font-size: 20px; text-align: center; } "
    "pre { display: inline-block; text-align: left; white-space: pre-wrap; }"
)
# Anki shows maths in these delimiters with the MathJax that it comes with.
_MARKUP = {"maths": r"\({}\)", "display": r"\[{}\]", "code": "<code>{}</code>", "pre": "<pre>{}</pre>"}

_NOTE_TYPE = genanki.Model(
    _NOTE_TYPE_ID,
    "Recto",
    fields=[{"name": "Front"}, {"name": "Back"}],
    templates=[
        {"name": "Card", "qfmt": "{{Front}}", "afmt": '{{FrontSide}}<hr id="answer">{{Back}}'},
    ],
    css=_CSS,
)

_CLOZE_NOTE_TYPE = genanki.Model(
    _CLOZE_NOTE_TYPE_ID,
    "Recto cloze",
    fields=[{"name": "Text"}, {"name": "Back Extra"}],
    templates=[{"name": "Cloze", "qfmt": "{{cloze:Text}}", "afmt": "{{cloze:Text}}{{Back Extra}}"}],
    css=f"{_CSS} .cloze {{ font-weight: bold; }}",
    model_type=genanki.Model.CLOZE,
)


def to_csv(cards: Iterable[tuple[str, str]]) -> str:
    """Return front and back as RFC 4180 CSV, every cell quoted, below the lines that tell Anki how to read it.

    It begins with a byte order mark, without which Excel takes it for another encoding; no cell is a formula.
    """
    out = io.StringIO(newline="")
    out.write(f"\ufeff{_CSV_HEAD}")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows((_cell(front), _cell(back)) for front, back in cards)
    return out.getvalue()


def to_anki(
    cards: Iterable[tuple[str, str]],
    deck_name: str,
    pictures: Mapping[int, UUID] = MappingProxyType({}),
    files: Iterable[tuple[UUID, bytes]] = (),
    clozes: Collection[int] = (),
    headings: Mapping[int, str] = MappingProxyType({}),
) -> bytes:
    """Return an ``.apkg``. Cards are plain text with maths and code; what looks like HTML in them is shown as it is.

    ``pictures``: the renders that stand below the backs, by the place of their card, from 0. ``files``: the JPEG of
    each render, once; one is in memory at a time, beside the package. ``clozes``: the places of cards whose front has a
    gap for the back; they become cloze notes. One without a gap is a question like the others. ``headings``, by the
    place of their card, become sub-decks.

    Control characters other than line breaks and tabs are left out. The same deck name gives the same deck, and the
    same deck name and front the same note, so that importing a newer file updates cards instead of doubling them.
    """
    deck_name = _CONTROL.sub("", deck_name)
    decks: dict[str, genanki.Deck] = {}
    for place, card in enumerate(cards):
        front, back = (_CONTROL.sub("", side) for side in card)
        is_cloze = place in clozes and GAP in front
        fields = [_cloze(front, back), ""] if is_cloze else [_html(front), _html(back)]
        if render_id := pictures.get(place):
            fields[1] += f'<br><img src="{_file_name(render_id)}">'
        note_type = _CLOZE_NOTE_TYPE if is_cloze else _NOTE_TYPE
        name = _sub_deck(deck_name, headings.get(place, ""))
        deck = decks.setdefault(name, genanki.Deck(_MIN_DECK_ID + _number(name) % _MIN_DECK_ID, name))
        deck.add_note(genanki.Note(note_type, fields, guid=genanki.guid_for(deck_name, front)))
    # genanki's own write_to_file leaves its database behind in the temporary folder.
    now = time()
    with closing(sqlite3.connect(":memory:")) as conn:
        genanki.Package(list(decks.values())).write_to_db(conn.cursor(), now, count(int(now * 1000)))
        conn.commit()
        collection = conn.serialize()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("collection.anki2", collection)
        names = {}
        for number, (render_id, data) in enumerate(files):
            package.writestr(str(number), data, zipfile.ZIP_STORED)  # a JPEG does not get smaller
            names[str(number)] = _file_name(render_id)
        package.writestr("media", json.dumps(names))
    return out.getvalue()


def _sub_deck(deck_name: str, heading: str) -> str:
    """Return the name of the deck below, which a heading's own colons make no deeper."""
    heading = re.sub(":{2,}", ":", _CONTROL.sub("", heading)).strip(": ")
    return f"{deck_name}::{heading}" if heading else deck_name


def _cell(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text


def _html(text: str) -> str:
    return "".join(map(_part, parts(text)))


def _part(part: Part) -> str:
    if part.kind == "text":
        return _escape(part.body).replace("\n", "<br>")
    return _MARKUP[part.kind].format(_escape(part.body))


def _escape(text: str) -> str:
    return _ANKI_TAG.sub("&#91;", escape(text))


def _cloze(front: str, back: str) -> str:
    """Return the sentence with its gap in Anki's form, which nothing else in it may have.

    A gap in a formula or in code is filled with what the back's delimiters hold: none stand in others.
    """
    in_text = _filled(_html(back))
    within = _filled(_escape("".join(part.body for part in parts(back))))
    return "".join(
        _part(part).replace("{{", "{&#123;").replace(GAP, in_text if part.kind == "text" else within)
        for part in parts(front)
    )


def _filled(answer: str) -> str:
    answer = answer.replace("{{", "{&#123;").replace("}}", "}&#125;").replace("::", ":&#58;")
    return f"{{{{c1::{answer}}}}}"


def _file_name(render_id: UUID) -> str:
    """Return a name that no other picture has in a learner's collection, which keeps those of all decks together."""
    return f"recto-{render_id}.jpg"


def _number(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:8])
