"""What flashcards are made of, a source text or a topic: trimmed, measured, hashed."""

import re
from dataclasses import InitVar, dataclass
from functools import cached_property
from hashlib import sha256

from recto.errors import InvalidRequest

MIN_CHARACTERS = 1000
MAX_CHARACTERS = 10_000
MIN_TOPIC_CHARACTERS = 3
MAX_TOPIC_CHARACTERS = 200

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class _Material:
    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", self.text.strip())

    @property
    def length(self) -> int:
        """Code points of the trimmed text."""
        return len(self.text)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the trimmed text's UTF-8, 64 hexadecimal digits."""
        return sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class SourceText(_Material):
    """A source text that may be sent to a model.

    ``text`` is trimmed of Unicode white space at both ends. Its ``length`` counts code points, as PostgreSQL's
    ``char_length`` does, and its ``hash`` is the SHA-256 of its UTF-8 form in hexadecimal.

    Raises ``InvalidRequest`` unless it is 1,000 to ``most`` characters long, and free of NUL characters and lone
    surrogates, which PostgreSQL and UTF-8 cannot hold.
    """

    most: InitVar[int] = MAX_CHARACTERS

    def __post_init__(self, most: int) -> None:
        super().__post_init__()
        if not MIN_CHARACTERS <= self.length <= most:
            raise InvalidRequest(
                f"source_text must have {MIN_CHARACTERS} to {most} characters, "
                f"white space at both ends not counted; it has {self.length}."
            )
        if UNSTORABLE.search(self.text):
            raise InvalidRequest("source_text must not contain NUL characters or lone surrogates.")


@dataclass(frozen=True)
class Passage(_Material):
    """A section of a source text, which has been checked as a whole."""


@dataclass(frozen=True)
class Topic(_Material):
    """A topic that a model may be asked to write about from its own knowledge: one line.

    Trimmed, measured and hashed as a ``SourceText`` is. Raises ``InvalidRequest`` unless it is 3–200 characters long
    and free of control characters and lone surrogates.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not MIN_TOPIC_CHARACTERS <= self.length <= MAX_TOPIC_CHARACTERS:
            raise InvalidRequest(
                f"topic must have {MIN_TOPIC_CHARACTERS} to {MAX_TOPIC_CHARACTERS} characters, "
                f"white space at both ends not counted; it has {self.length}."
            )
        if _CONTROL.search(self.text):
            raise InvalidRequest("topic must be one line, without control characters or lone surrogates.")


Material = SourceText | Passage | Topic
