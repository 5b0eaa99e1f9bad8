"""The process that reads one document from standard input, and ends: ``python -m recto.documents.child PDF 60 BYTES``.

Its answer goes to standard output: the text, or with the exit status ``REFUSED`` a sentence that says why there is
none. Every import that takes long or that a document may break is made here.
"""

import re
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from resource import RLIMIT_AS, RLIMIT_CORE, RLIMIT_CPU, RLIMIT_FSIZE, setrlimit
from typing import BinaryIO

from recto.documents import MAX_CHARACTERS, REFUSED, DocumentError

_READERS = {"PDF": ("pdf", "read"), "EPUB": ("books", "epub"), "DOCX": ("books", "docx"), "HTML": ("html", "read")}
_BYTES_A_CHARACTER = 4

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_LINE_END = re.compile(r"\r\n?|\f")
_GAP = re.compile(r"\n(?:[^\S\n]*\n){2,}")


def main() -> None:
    """Answer as the module says."""
    kind, cpu_s, memory_bytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    _limit(cpu_s, memory_bytes)
    status = 0
    try:
        answer = _text(kind, sys.stdin.buffer)
    except DocumentError as error:
        status, answer = REFUSED, str(error)
    except MemoryError:
        status, answer = REFUSED, f"The {kind} takes too much memory to read."
    except Exception:  # noqa: BLE001  a library may fail in any way on a document that is broken, or made to break it
        status, answer = REFUSED, f"The file is no {kind}, or it is damaged."
    sys.stdout.buffer.write(answer.encode(errors="replace"))
    sys.stdout.buffer.flush()
    sys.exit(status)


def _limit(cpu_s: int, memory_bytes: int) -> None:
    for what, most in {
        RLIMIT_AS: memory_bytes,
        RLIMIT_CPU: cpu_s,
        RLIMIT_FSIZE: MAX_CHARACTERS * _BYTES_A_CHARACTER,
        RLIMIT_CORE: 0,
    }.items():
        with suppress(ValueError, OSError):  # macOS refuses RLIMIT_AS
            setrlimit(what, (most, most))


def _text(kind: str, document: BinaryIO) -> str:
    module, function = _READERS[kind]
    reader: Callable[[BinaryIO], str] = getattr(import_module(f"recto.documents.{module}"), function)
    text = _CONTROL.sub("", _LINE_END.sub("\n", reader(document)))
    text = _GAP.sub("\n\n", text).strip()
    if not text:
        raise DocumentError(f"The {kind} has no text.")
    if len(text) > MAX_CHARACTERS:
        raise DocumentError(f"The {kind} has more than {MAX_CHARACTERS:,} characters of text; split it first.")
    return text


if __name__ == "__main__":
    main()
