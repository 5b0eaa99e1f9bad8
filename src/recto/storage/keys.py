"""Keys: the names of stored files. Whatever does not look like one never reaches a file system."""

import re
from typing import Literal, NewType
from uuid import UUID

Key = NewType("Key", str)

_PART = r"[0-9a-f-]{36}"
_KEY = re.compile(
    rf"private/{_PART}/inputs/{_PART}\.(?:jpg|png)|public/renders/{_PART}/[0-9]{{1,2}}(?:-thumbnail)?\.jpg"
)


class InvalidKey(ValueError):
    """The text is no key."""


def parse(text: str) -> Key:
    """Return the text as a key. Raises ``InvalidKey``."""
    if not _KEY.fullmatch(text):
        raise InvalidKey
    return Key(text)


def is_public(key: Key) -> bool:
    """Whether anybody may read the file."""
    return key.startswith("public/")


def media_type(key: Key) -> str:
    """Return what HTTP calls the file's content."""
    return "image/png" if key.endswith(".png") else "image/jpeg"


def of_input(user_id: UUID, input_id: UUID, extension: Literal["jpg", "png"]) -> Key:
    """Return the key of a picture that a user sent."""
    return Key(f"private/{user_id}/inputs/{input_id}.{extension}")


def of_variant(render_id: UUID, index: int, *, thumbnail: bool = False) -> Key:
    """Return the key of one picture of a render, or of its thumbnail."""
    return Key(f"public/renders/{render_id}/{index}{'-thumbnail' if thumbnail else ''}.jpg")
