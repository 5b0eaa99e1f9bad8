"""The contract of ``/v1``: pictures. Names are camelCase, as the apps that use it expect."""

from contextlib import closing
from datetime import datetime
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, Self

from flask import Request
from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError
from pydantic.alias_generators import to_camel

from recto.api import bodies, cursors
from recto.api.contract import NextCursor
from recto.api.parsing import DEFAULT_PAGE_SIZE, Body, PageSize, Query, refusal
from recto.db.images import ImageRow
from recto.errors import InvalidRequest, UnsupportedMediaType
from recto.images.modes import ModeName
from recto.storage import Storage, keys
from recto.times import UPLOAD_S

MAX_BODY_BYTES = 31 * 1024 * 1024

Status = Literal["starting", "processing", "succeeded", "failed", "canceled"]


class _Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class CreateImage(Body):
    """What to make a picture of: `multipart/form-data` with the files that the mode needs; JSON where it needs none."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    files: ClassVar = ("input1", "input2")

    mode: ModeName
    prompt: Annotated[StrictStr, Field(description="At most 500 characters; needed in `compose`.")] = ""
    room_type: Annotated[StrictStr, Field(description="At most 100 characters.")] = ""
    style: Annotated[StrictStr, Field(description="At most 100 characters.")] = ""
    front: Annotated[StrictStr, Field(description="Of the card, in `illustrate`.")] = ""
    back: Annotated[StrictStr, Field(description="Of the card, in `illustrate`.")] = ""
    idempotency_key: Annotated[StrictStr | None, Field(pattern=r"^[!-~]{1,255}$")] = None

    @classmethod
    def parse_form(cls, request: Request) -> tuple[Self, dict[str, bytes]]:
        """Read the fields, and the files by their field's name. Raises ``InvalidRequest``."""
        bodies.allow(request, MAX_BODY_BYTES)
        raw = bodies.read(request, keep=True, within_s=UPLOAD_S)
        files = {}
        if request.is_json:
            parse = partial(cls.model_validate_json, raw)
        elif request.mimetype == "multipart/form-data":
            for name, file in request.files.items():
                with closing(file):  # large ones are in temporary files
                    files[name] = file.read()
            for name in (*request.form, *request.files):
                if len(request.form.getlist(name)) + len(request.files.getlist(name)) > 1:
                    raise InvalidRequest(f"{name}: sent more than once.")
            parse = partial(cls.model_validate, request.form.to_dict())
        else:
            raise UnsupportedMediaType("Send multipart/form-data, or application/json without files.")
        try:
            return parse(), files
        except ValidationError as error:
            raise refusal(error) from None


class CreatedImage(_Camel):
    """A picture that is being made."""

    id: str
    prediction_id: str | None
    status: Status
    settings: dict[str, str]
    created_at: datetime


class ImageVariant(_Camel):
    """One picture of a render, in JPEG, and a thumbnail of 512 pixels at most."""

    index: int
    url: str
    thumb_url: str
    render_id: str


class Image(CreatedImage):
    """A picture's generation. `variants` are there once it has succeeded."""

    mode: str
    completed_at: datetime | None
    error: dict[str, str] | None
    variants: list[ImageVariant]

    @classmethod
    def of(cls, row: ImageRow, storage: Storage) -> Self:
        """Show a row."""
        return cls(
            id=str(row.id),
            prediction_id=row.prediction_id,
            status=status_of(row),
            settings=row.settings,
            created_at=row.created_at,
            mode=row.mode,
            completed_at=row.finished_at,
            error={"error": "UPSTREAM_ERROR", "message": row.error["message"]} if row.error else None,
            variants=[
                ImageVariant(
                    index=index,
                    url=storage.url(keys.of_variant(row.render_id, index)),
                    thumb_url=storage.url(keys.of_variant(row.render_id, index, thumbnail=True)),
                    render_id=str(row.render_id),
                )
                for index in row.variants
                if row.render_id
            ],
        )


def status_of(row: ImageRow) -> Status:
    """Return the status as callers read it: `succeeded` only once the files are stored."""
    if row.ended:
        status: Any = row.status
        return status  # type: ignore[no-any-return]  # one of the three by the table's check
    return "starting" if row.prediction_status in (None, "starting") else "processing"


class ImagePage(_Camel):
    """The caller's pictures, newest first."""

    generations: list[Image]
    next_cursor: NextCursor


class ImageQuery(Query):
    """Which part of the list to return."""

    cursor: Annotated[
        str | None, Field(pattern=cursors.PATTERN, description="The `nextCursor` of the page before.")
    ] = None
    limit: PageSize = DEFAULT_PAGE_SIZE


class CancelImage(Body):
    """Stop a picture's generation."""

    action: Literal["cancel"]


class Heard(BaseModel):
    """The webhook was taken, whether it changed anything or not."""

    status: Literal["ok"] = "ok"
