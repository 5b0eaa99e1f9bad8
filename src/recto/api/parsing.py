"""A request's body or query string → a model; and what the fields of several models share."""

from typing import Annotated, Any, ClassVar, Self

from flask import Request
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from recto.api import bodies
from recto.errors import InvalidRequest, UnsupportedMediaType


class Body(BaseModel):
    """A JSON request body. Unknown keys are ignored, so that older and newer clients keep working.

    ``files``: the fields that are files, of a body that may come as `multipart/form-data` too.
    """

    files: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def parse(cls, request: Request) -> Self:
        """Read the request's body. Raises ``InvalidRequest`` with a message that repeats nothing of the input."""
        if not request.is_json:
            raise UnsupportedMediaType
        try:
            return cls.model_validate_json(bodies.read(request))
        except ValidationError as error:
            raise refusal(error) from None


class Query(BaseModel):
    """A query string. Unknown parameters are ignored; a known one may be sent once."""

    @classmethod
    def parse(cls, request: Request) -> Self:
        """Read the query string. Raises ``InvalidRequest``."""
        for name, values in request.args.lists():
            if name in cls.model_fields and len(values) > 1:
                raise InvalidRequest(f"{name}: sent more than once.")
        try:
            return cls.model_validate(request.args.to_dict())
        except ValidationError as error:
            raise refusal(error) from None


def refusal(error: ValidationError) -> InvalidRequest:
    """Say what is wrong, of three fields at most, without a value."""
    return InvalidRequest("; ".join(map(_sentence, error.errors(include_input=False)[:3])))


def _sentence(problem: Any) -> str:
    if problem["type"] == "json_invalid":
        return "The request body is not valid JSON in UTF-8."
    where = ".".join(map(str, problem["loc"])) or "The request body"
    return f"{where}: {problem['msg']}."


# What `str.strip` takes away, in every dialect of regular expressions: they differ in what `\s` is.
WHITE = r"\s\x1c-\x1f\x85"

DEFAULT_PAGE_SIZE = 20
PageSize = Annotated[int, Field(ge=1, le=100)]


def _from_float(number: object) -> object:
    return int(number) if isinstance(number, float) and number.is_integer() else number


# JSON has one kind of number: 1.0 is an integer. In an annotation it stands after the field's bounds.
INTEGRAL = BeforeValidator(_from_float)
