"""`recto eval`, as an operator calls it."""

import json
import signal
import subprocess

import pytest
from click.testing import CliRunner
from tests.commands import RECTO
from tests.conftest import SOURCE_TEXT

from recto.evaluation import EvaluationError
from recto.evaluation.command import evaluate
from recto.sandbox.forms import CUT, WHOLE
from recto.sandbox.server import start

PARAGRAPH = {
    "context": SOURCE_TEXT[:300],
    "qas": [
        {
            "question": "Near which town was the Rosetta Stone found?",
            "answers": [{"text": "Rashid", "answer_start": SOURCE_TEXT.index("Rashid")}],
        }
    ],
}
INSTANCE = {
    "passage": SOURCE_TEXT[:300],
    "answer": "Rashid",
    "questions": [{"prediction": "Near which town was the Rosetta Stone found?", "answer_consistency": 3.0}],
}


def run(*arguments, **environment):
    return CliRunner().invoke(evaluate, arguments, env=environment)


@pytest.fixture
def texts(tmp_path):
    """A folder of texts, and a file that is none."""
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "stone.md").write_text(SOURCE_TEXT)
    (folder / "again.TXT").write_text(SOURCE_TEXT)
    (folder / "page.pdf").write_bytes(b"%PDF")
    return folder


@pytest.fixture
def provider():
    """The environment in which a provider with prices is asked."""
    with start(chunks_per_second=0, usd_per_token=1e-6) as server:
        yield {"OPENROUTER_API_KEY": "key", "OPENROUTER_BASE_URL": server.base_url}


@pytest.fixture
def sets(tmp_path):
    """A file of SQuAD and one of QGEval."""
    squad, qgeval = tmp_path / "dev-v2.0.json", tmp_path / "instances.json"
    squad.write_text(json.dumps({"data": [{"paragraphs": [PARAGRAPH]}]}))
    qgeval.write_text(json.dumps([INSTANCE]))
    return str(squad), str(qgeval)


def test_without_arguments_it_counts_what_comes_with_recto(tmp_path):
    done = subprocess.run([RECTO, "eval"], capture_output=True, text=True, env={}, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert all(any(line.startswith(form) for line in lines) for form in [*WHOLE, *CUT])
    assert "duplicate" in done.stdout
    assert "the place holds the answer" in done.stdout
    assert max(map(len, lines)) <= 120


def test_the_same_is_there_for_machines():
    told = json.loads(run("--json").stdout)
    assert set(told) == {"recovery", "grounding", "rules"}
    assert told["recovery"][0] == {
        "form": "as asked for",
        "labelled": {"whole": 382, "read": 382, "wrong": 0},
        "awkward": {"whole": 8, "read": 8, "wrong": 0},
    }
    assert set(told["grounding"]) == {"tuned", "held out"}


def test_public_sets_are_read_from_their_files(sets):
    squad, qgeval = sets
    done = run("--squad", squad, "--qgeval", qgeval)
    assert done.exit_code == 0
    assert "the place holds the answer 1 1 100.0 %" in " ".join(done.stdout.split())
    assert "flagged: score 3 1 0 0.0 %" in " ".join(done.stdout.split())
    told = json.loads(run("--squad", squad, "--qgeval", qgeval, "--json").stdout)
    assert told["squad"][0] == {"what": "the place holds the answer", "cards": 1, "found": 1}
    assert told["qgeval"]["grounded_score"] == 3.0


def test_a_wrong_file_is_said_in_a_line(sets):
    done = subprocess.run([RECTO, "eval", "--squad", sets[1]], capture_output=True, text=True, env={}, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("recto: ")
    assert "is no SQuAD file" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_models_are_asked_about_each_text_of_the_folder(texts, provider):
    asked = ["--models", "sandbox/extractive, sandbox/http-500,", "--texts", str(texts), "--budget-usd", "1"]
    done = run(*asked, "--count", "3", **provider)
    assert done.exit_code == 0
    assert "sandbox/extractive      2       0  100 %    6/6" in done.stdout
    assert "sandbox/http-500 failed: upstream_http_error_500 (2)" in done.stdout
    assert done.stderr.splitlines()[0] == "sandbox/extractive, again.TXT: succeeded, 3 cards"
    told = json.loads(run(*asked, "--json", **provider).stdout)
    assert [row["model"] for row in told["models"]] == ["sandbox/extractive", "sandbox/http-500"]
    # A fallback model's answer is not the model's.
    (row,) = json.loads(
        run(
            *("--models", "sandbox/http-500", "--texts", str(texts), "--budget-usd", "1", "--json"),
            OPENROUTER_FALLBACK_MODELS="sandbox/extractive",
            **provider,
        ).stdout
    )["models"]
    assert row["failures"] == {"upstream_http_error_500": 2}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--models", "a", "--texts", "."],
        ["--models", "a", "--budget-usd", "1"],
        ["--models", " , ", "--texts", ".", "--budget-usd", "1"],
        ["--models", "a", "--texts", ".", "--budget-usd", "nan"],
        ["--models", "a", "--texts", ".", "--budget-usd", "-1"],
        ["--models", "a", "--texts", ".", "--budget-usd", "one"],
        ["--models", "a", "--texts", ".", "--budget-usd", "1", "--usd-per-million", "inf"],
        ["--models", "a", "--texts", ".", "--budget-usd", "1", "--count", "16"],
        ["--texts", "."],
        ["--budget-usd", "0"],
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments):
    done = run(*arguments, OPENROUTER_API_KEY="key", OPENROUTER_BASE_URL="http://127.0.0.1:9")
    assert done.exit_code == 2
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("short.txt", b"short", "short.txt: source_text must have 1000 to 10000 characters"),
        ("latin.txt", b"\xff" * 2000, "latin.txt: The file is not UTF-8 text."),
        (None, b"", "holds no *.txt and no *.md"),
    ],
)
def test_texts_that_cannot_be_asked_about_are_named_before_anything_is_asked(tmp_path, name, content, message):
    if name:
        (tmp_path / name).write_bytes(content)
    done = run("--models", "a", "--texts", str(tmp_path), "--budget-usd", "1", OPENROUTER_API_KEY="key")
    assert isinstance(done.exception, EvaluationError)
    assert message in str(done.exception)


def test_a_refused_key_is_said_before_anything_is_asked(texts, provider):
    asked = ["--models", "a/b", "--texts", str(texts), "--budget-usd", "1"]
    done = run(*asked, **provider | {"OPENROUTER_API_KEY": "wrong"})
    assert str(done.exception) == "the provider refuses OPENROUTER_API_KEY (status 401)"


def test_ctrl_c_shows_what_was_paid_for(texts, provider):
    asked = ["--models", "sandbox/extractive,sandbox/timeout", "--texts", str(texts), "--budget-usd", "1"]
    with subprocess.Popen(
        [RECTO, "eval", *asked], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=provider
    ) as process:
        assert process.stderr.readline().startswith("sandbox/extractive, again.TXT: succeeded")
        process.send_signal(signal.SIGINT)
        told = process.stdout.read()
    assert process.returncode == 0
    assert "sandbox/extractive      1" in told
