"""`recto generate`: of a text that a call takes whole, then of a longer one."""

import csv
import io
import json
import os
import re
import sqlite3
import subprocess
import zipfile
from contextlib import closing

import pytest

from recto.api.contract import CreatedGeneration

from .api.test_long_decks import TITLES, chapter, facts
from .commands import RECTO, run
from .documents import made

TEXT = "The recto is the front of a leaf. The verso is its back. Gutenberg printed his Bible in 1455. " * 12
SPOILT = "# Spoilt\n\n[sandbox: {}]\n\n" + facts("Stone", 6000)


def test_cards_are_written_as_json():
    done = run("generate", "-", "--sandbox", text=TEXT)
    assert done.returncode == 0
    assert done.stderr == b""
    report = json.loads(done.stdout)
    assert report["generated_count"] == len(report["flashcards_proposals"]) > 0
    assert report["model"] == "sandbox/extractive"
    # The API's own shape, and what stands in the API's record beside it.
    created = CreatedGeneration.model_validate(report).model_dump()
    assert {name: report[name] for name in created} == created


def test_cards_are_written_as_csv_and_anki(tmp_path):
    source = tmp_path / "chapter.txt"
    source.write_text(TEXT)
    done = run("generate", str(source), "--sandbox", "--format", "csv")
    rows = list(csv.reader(io.StringIO(done.stdout.decode(), newline="")))
    assert rows[2] == ["#columns:Front", "Back"]
    assert len(rows) > 3
    deck = tmp_path / "deck"
    assert run("generate", str(source), "--sandbox", "--format", "anki", "-o", str(deck)).returncode == 0
    assert "collection.anki2" in zipfile.ZipFile(deck).namelist()


def test_a_pdf_becomes_the_deck_that_the_outputs_name_asks_for(tmp_path):
    source, deck = tmp_path / "chapter.pdf", tmp_path / "chapter.apkg"
    source.write_bytes(made.pdf(made.page((20, "Books"), *[(10, line) for line in TEXT.split("in 1455.")])))
    done = run("generate", str(source), "--sandbox", "-o", str(deck))
    assert (done.returncode, done.stderr) == (0, b"")
    assert "collection.anki2" in zipfile.ZipFile(deck).namelist()


def test_a_document_that_lies_is_said_in_a_line(tmp_path):
    source = tmp_path / "chapter.pdf"
    source.write_text(TEXT)
    done = run("generate", str(source), "--sandbox")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"recto: The file is no PDF.\n")


def test_the_model_and_the_deck_can_be_named(sandbox, tmp_path):
    deck = tmp_path / "deck.apkg"
    configured = {
        "OPENROUTER_API_KEY": "key",
        "OPENROUTER_BASE_URL": sandbox.base_url,
        "OPENROUTER_MODEL": "sandbox/empty",
    }
    named = ["generate", "-", "--model", "sandbox/fenced"]
    assert json.loads(run(*named, text=TEXT, environment=configured).stdout)["generated_count"] > 0
    refused = run("generate", "-", "--sandbox", "--model", "sandbox/empty", text=TEXT)
    assert b"upstream_invalid_response" in refused.stderr
    assert run(*named, "--format", "anki", "--deck", "Codices", "-o", str(deck), text=TEXT, environment=configured)
    assert b"Codices" in zipfile.ZipFile(deck).read("collection.anki2")


@pytest.mark.parametrize("is_named", [False, True])
def test_an_anki_deck_is_not_written_to_a_terminal(is_named):
    ours, terminal = os.openpty()
    output = os.ttyname(terminal) if is_named else "-"
    try:
        done = subprocess.run(
            [RECTO, "generate", "-", "--sandbox", "--format", "anki", "-o", output],
            input=TEXT.encode(),
            stdout=terminal,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"]},
            check=False,
        )
    finally:
        os.close(terminal)
        os.close(ours)
    assert done.returncode == 1
    assert b"--output" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("short", b"1000 to 200000 characters"),
        (b"\xff" * 2000, b"not UTF-8"),
        (TEXT + "\n[sandbox: http-402]", b"upstream_http_error_402"),
    ],
)
def test_a_failure_is_said_in_a_line_and_writes_nothing(text, message, tmp_path):
    out = tmp_path / "out"
    done = run("generate", "-", "--sandbox", "-o", str(out), text=text)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not out.exists()


@pytest.fixture
def generate(tmp_path):
    """Generate of a text in a file, with options; the last value is what was written."""

    def generate_(text, *options, ending):
        source, out = tmp_path / "chapter.md", tmp_path / f"out{ending}"
        source.write_text(text)
        done = run("generate", str(source), "--sandbox", "-o", str(out), *options)
        return done.returncode, done.stderr.decode().splitlines(), out

    return generate_


def test_headings_become_sub_decks_and_each_section_is_told(generate, tmp_path):
    text = chapter(*TITLES[:2], "Of::colons")
    returncode, said, out = generate(text, "--count", "30", "--deck", "Egypt", ending=".apkg")
    assert (returncode, said) == (0, [f"{n} of 3 sections, {10 * n} of 30 cards" for n in range(4)])
    (tmp_path / "collection").write_bytes(zipfile.ZipFile(out).read("collection.anki2"))
    with closing(sqlite3.connect(tmp_path / "collection")) as conn:
        decks = {
            deck["id"]: deck["name"]
            for deck in json.loads(conn.execute("select decks from col").fetchone()[0]).values()
        }
        counted = {decks[deck]: cards for deck, cards in conn.execute("select did, count(*) from cards group by did")}
    assert counted == {"Egypt::The Rosetta Stone": 10, "Egypt::Cartouches": 10, "Egypt::Of:colons": 10}


def test_a_section_without_a_card_is_said_in_words_and_in_json(generate):
    returncode, said, out = generate(f"{chapter('One')}\n\n{SPOILT.format('refusal')}", ending=".json")
    assert returncode == 0
    assert said[-1] == 'No card came of section 2 "Spoilt": upstream_invalid_response.'
    report = json.loads(out.read_text())
    assert report["generated_count"] == len(report["flashcards_proposals"]) == 15  # its share of 30
    assert {str(card["section"]) for card in report["flashcards_proposals"]} == {"{'number': 1, 'title': 'One'}"}
    assert (report["sections"], report["sections_done"], report["incomplete"]) == (2, 2, "model_stopped")
    assert [section["number"] for section in report["sections_without_cards"]] == [2]
    assert 0.4 < report["coverage"] < 0.6


def test_cards_that_came_before_a_failure_are_written(generate):
    text = f"{chapter('One')}\n\n{SPOILT.format('http-402')}"
    returncode, said, out = generate(text, "--count", "10", ending=".csv")
    assert returncode == 1
    assert said[-2] == 'No card came of section 2 "Spoilt": upstream_refused.'
    assert said[-1].endswith("; 5 of 10 cards were written")
    assert len(list(csv.reader(io.StringIO(out.read_text(), newline="")))) == 3 + 5


def test_nothing_is_written_if_nothing_came(generate):
    returncode, said, out = generate(SPOILT.format("http-402") * 2, ending=".csv")
    assert (returncode, out.exists()) == (1, False)
    assert "upstream_http_error_402" in said[-1]


def test_a_count_has_its_bound(generate):
    returncode, said, _ = generate(chapter("One", "Two"), "--count", "201", ending=".csv")
    assert (returncode, said[-1]) == (2, "Error: --count must be at most 200.")


def test_a_terminal_shows_a_bar(tmp_path):
    source = tmp_path / "chapter.md"
    source.write_text(f"{chapter('One')}\n\n{SPOILT.format('slow')}")
    ours, terminal = os.openpty()
    command = [RECTO, "generate", str(source), "--sandbox", "--count", "20"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=terminal, env={"PATH": os.environ["PATH"]}):
        os.close(terminal)
        shown = b""
        try:
            while piece := os.read(ours, 1000):
                shown += piece
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    frames = re.split(r"\r\S? ?", shown.decode())
    assert f"{'█' * 12}{'░' * 12} 1 of 2 sections, 10 of 20 cards … \x1b[K" in frames
    assert shown.endswith(b"\r\x1b[K")


def test_a_scanned_document_says_so(tmp_path):
    source = tmp_path / "chapter.pdf"
    source.write_bytes(made.pdf(b"", b""))
    done = run("generate", str(source), "--sandbox", "--count", "100", "-o", str(tmp_path / "chapter.apkg"))
    assert done.returncode == 1
    assert b"pictures of pages" in done.stderr
