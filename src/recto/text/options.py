"""What a caller may ask of the cards, beside the text or topic that they are made of."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from recto.errors import InvalidRequest

Style = Literal["question", "cloze"]
STYLES: tuple[str, ...] = get_args(Style)

# What the front of a cloze card has in the place of its back.
GAP = "____"

MAX_FOCUS_CHARACTERS = 200
# BCP 47 (RFC 5646) as far as it names a language as it is written: language, script, region, variant.
LANGUAGE_PATTERN = r"^[A-Za-z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?(-([A-Za-z0-9]{5,8}|[0-9][A-Za-z0-9]{3}))?$"
_UNSENDABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Options:
    """How many cards, in which language, about what, and of which style; None leaves it to the text and the model.

    ``language`` is a BCP 47 tag. ``focus`` is one line, trimmed. Raises ``InvalidRequest``.
    """

    count: int | None = None
    language: str | None = None
    focus: str | None = None
    style: str = "question"

    def __post_init__(self) -> None:
        if self.language is not None and not re.match(LANGUAGE_PATTERN, self.language):
            raise InvalidRequest("language must be a BCP 47 tag, such as pl or pt-BR.")
        if self.style not in STYLES:
            raise InvalidRequest(f"style must be one of: {', '.join(STYLES)}.")
        if self.focus is not None:
            object.__setattr__(self, "focus", self.focus.strip())
            if not 1 <= len(self.focus) <= MAX_FOCUS_CHARACTERS or _UNSENDABLE.search(self.focus):
                raise InvalidRequest(
                    f"focus must be one line of 1 to {MAX_FOCUS_CHARACTERS} characters, without control characters."
                )


NO_OPTIONS = Options()
