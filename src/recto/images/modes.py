"""What a picture may be asked for: the modes, what each needs, and the words in which a model is asked.

| mode       | files            | texts              | what comes of it                                    |
| ---------- | ---------------- | ------------------ | --------------------------------------------------- |
| imagine    |                  | prompt, if any     | a picture from words alone                          |
| redesign   | input1           | prompt, if any     | the room of a photo in another style                |
| staging    | input1           | prompt, if any     | the empty room of a photo with furniture            |
| compose    | input1, input2   | prompt             | what the first photo shows, with what the second has |
| illustrate |                  | front, back        | a picture for a flashcard, without writing in it    |

``roomType`` and ``style`` may be added to any of them.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from recto.errors import InvalidRequest

MAX_PROMPT_CHARACTERS = 500
MAX_SETTING_CHARACTERS = 100

ModeName = Literal["imagine", "redesign", "staging", "compose", "illustrate"]


@dataclass(frozen=True, slots=True)
class Mode:
    """``files``: those that must be there, by their field's name. ``task``: the first sentences of the prompt.

    ``version``: changes with the wording.
    """

    files: tuple[str, ...]
    task: str
    version: str
    needs_prompt: bool = False
    is_card: bool = False


MODES: dict[ModeName, Mode] = {
    "imagine": Mode((), "Make one photorealistic picture.", "imagine-1"),
    "redesign": Mode(
        ("input1",),
        "Redesign the room in the photo. Keep its walls, windows, doors, proportions and the camera's place; "
        "change furniture, colours, materials and light.",
        "redesign-1",
    ),
    "staging": Mode(
        ("input1",),
        "Furnish the empty room in the photo as for a sale. Keep its walls, floor, windows, doors and the camera's "
        "place exactly; add furniture, lamps and decoration that fit its size.",
        "staging-1",
    ),
    "compose": Mode(
        ("input1", "input2"),
        "Combine the two pictures into one: the scene is that of the first, and what the second shows is put into it "
        "as the wish below says, with one light and one perspective.",
        "compose-1",
        needs_prompt=True,
    ),
    "illustrate": Mode(
        (),
        "Make one simple, memorable illustration for the flashcard below, which helps a learner to recall the answer. "
        "There must be no letters, words, numbers or labels in the picture.",
        "illustrate-1",
        is_card=True,
    ),
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller asks for, trimmed; texts that were not given are empty.

    Raises ``InvalidRequest`` if the mode needs a text that is not there, or takes none of those that are; if one is too
    long, or holds what ``moderation.txt`` lists. Whether the mode's files are there is the door's to check.
    ``longest_side``: characters, of the card's front and back.
    """

    mode: ModeName
    prompt: str = ""
    room_type: str = ""
    style: str = ""
    front: str = ""
    back: str = ""
    longest_side: int = 500

    def __post_init__(self) -> None:
        for name in ("prompt", "room_type", "style", "front", "back"):
            object.__setattr__(self, name, getattr(self, name).strip())
        mode = MODES[self.mode]
        for name, text, longest in (
            ("prompt", self.prompt, MAX_PROMPT_CHARACTERS),
            ("roomType", self.room_type, MAX_SETTING_CHARACTERS),
            ("style", self.style, MAX_SETTING_CHARACTERS),
            ("front", self.front, self.longest_side),
            ("back", self.back, self.longest_side),
        ):
            if len(text) > longest:
                raise InvalidRequest(f"{name} must have at most {longest} characters; it has {len(text)}.")
            if _CONTROL.search(text):
                raise InvalidRequest(f"{name} must not contain control characters or lone surrogates.")
            if _is_banned(text):
                raise InvalidRequest(f"{name} asks for what is not made here.")
        if mode.needs_prompt and not self.prompt:
            raise InvalidRequest(f"prompt is needed in the mode {self.mode}.")
        if mode.is_card and not (self.front and self.back):
            raise InvalidRequest(f"front and back are needed in the mode {self.mode}.")
        if not mode.is_card and (self.front or self.back):
            raise InvalidRequest(f"front and back have no meaning in the mode {self.mode}.")

    def prompt_for_model(self) -> str:
        """Return the words that a model is asked with. What the caller wrote is marked as such, in lines of its own."""
        mode = MODES[self.mode]
        parts = [mode.task]
        for label, text in (
            ("Room", self.room_type),
            ("Style", self.style),
            ("Question on the card", self.front),
            ("Answer on the card", self.back),
            ("Wish", self.prompt),
        ):
            if text:
                parts.append(f"{label}: {' '.join(text.split())}")
        return "\n".join(parts)


# Line breaks and tabs are white space that a text may have.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def _is_banned(text: str) -> bool:
    return _banned().search(_folded(text)) is not None


@cache
def _banned() -> re.Pattern[str]:
    lines = files("recto.images").joinpath("moderation.txt").read_text("utf-8").splitlines()
    words = [_folded(line) for line in lines if line.strip() and not line.startswith("#")]
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)")


def _folded(text: str) -> str:
    """Return the text as it is compared: compatibility forms, case and spacing aside."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
