"""Documents as text with headings: PDF, EPUB, DOCX and HTML, read in a child process that cannot take much.

    child.py   the child: its limits, and what it answers
    pdf.py     PDF, through pypdf
    books.py   EPUB and DOCX, which are ZIP files; DOCX through mammoth
    html.py    HTML, which EPUB and DOCX come down to

Headings are lines with ``#`` before them, as in Markdown. Whatever is not one of these four is taken for UTF-8 text,
and returned as it is: Markdown, plain text.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL, TimeoutExpired, run
from tempfile import TemporaryFile
from typing import NamedTuple

MAX_CHARACTERS = 1_000_000
MAX_FILE_BYTES = 200_000_000

REFUSED = 3  # the child's exit status when its answer is a sentence and not the text
_KINDS = {".pdf": "PDF", ".epub": "EPUB", ".docx": "DOCX", ".html": "HTML", ".htm": "HTML", ".xhtml": "HTML"}
_LIBRARIES = {"PDF": "pypdf", "DOCX": "mammoth"}


class DocumentError(Exception):
    """A document cannot be read; one sentence that says why, for whoever has the document."""


class Limits(NamedTuple):
    """What the child that reads a document may take: wall time, CPU time, address space."""

    wall_s: float = 120
    cpu_s: int = 100
    memory_bytes: int = 1 << 30


_LIMITS = Limits()


def read(path: Path, limits: Limits = _LIMITS) -> str:
    """Return a document's text; the ending of its name tells what it is.

    Of what the child reads at most a million characters. Raises ``DocumentError`` if there are more, and if the file
    cannot be read, is not what its name says, is encrypted, or has no text.
    """
    kind = _KINDS.get(path.suffix.lower())
    if not kind:
        return plain(path.read_bytes())
    if not path.is_file():
        raise DocumentError("This is not a file.")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise DocumentError(f"The file is larger than {MAX_FILE_BYTES // 1_000_000} MB.")
    return _read_in_child(path, kind, limits)


def plain(data: bytes) -> str:
    """Return what is text already. Raises ``DocumentError`` if it is not in UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise DocumentError("The file is not UTF-8 text.") from None


def _read_in_child(path: Path, kind: str, limits: Limits) -> str:
    if kind in _LIBRARIES and not find_spec(_LIBRARIES[kind]):
        raise DocumentError(f"Reading a {kind} needs an extra: pip install 'recto[documents]'")
    # -P: a module of the same name in the current folder is not imported.
    command = [sys.executable, "-P", "-m", "recto.documents.child", kind, str(limits.cpu_s), str(limits.memory_bytes)]
    with path.open("rb") as document, TemporaryFile() as answer:
        try:
            ended = run(  # noqa: S603  nothing of the command is a user's
                command, stdin=document, stdout=answer, stderr=DEVNULL, timeout=limits.wall_s, check=False
            )
        except TimeoutExpired:
            raise DocumentError(f"Reading the {kind} took more than {limits.wall_s:g} s; it was given up.") from None
        answer.seek(0)
        said = answer.read().decode(errors="replace")
    if ended.returncode == 0:
        return said
    if ended.returncode == REFUSED:
        raise DocumentError(said)
    raise DocumentError(f"Reading the {kind} took too much time or memory; it was given up.")
