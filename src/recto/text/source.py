"""The learner's source text: trimmed, measured, hashed."""

import re
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from recto.errors import InvalidRequest

MIN_CHARACTERS = 1000
MAX_CHARACTERS = 10_000

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True)
class SourceText:
    """A source text that may be sent to a model.

    ``text`` is trimmed of Unicode white space at both ends. Its ``length`` counts code points, as PostgreSQL's
    ``char_length`` does, and its ``hash`` is the SHA-256 of its UTF-8 form in hexadecimal.

    Raises ``InvalidRequest`` unless it is 1,000–10,000 characters long and free of NUL characters and lone
    surrogates, which PostgreSQL and UTF-8 cannot hold.
    """

    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", self.text.strip())
        if not MIN_CHARACTERS <= self.length <= MAX_CHARACTERS:
            raise InvalidRequest(
                f"source_text must have {MIN_CHARACTERS} to {MAX_CHARACTERS} characters, "
                f"white space at both ends not counted; it has {self.length}."
            )
        if _UNSTORABLE.search(self.text):
            raise InvalidRequest("source_text must not contain NUL characters or lone surrogates.")

    @property
    def length(self) -> int:
        """Code points of the trimmed text."""
        return len(self.text)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the trimmed text's UTF-8, 64 hexadecimal digits."""
        return sha256(self.text.encode()).hexdigest()
