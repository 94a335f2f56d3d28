"""Field types that dialects share. Errors say what would be right, never what was sent."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from llama4coder.server.body import FAIL_FAST, NOT_SUPPORTED, UNSUPPORTED, asks_for

ONLY_TEXT = "only text is supported in a content: this model cannot see images, and reads no documents, files or sound"
"""What pydantic's errors of type `UNSUPPORTED` say of parts of any other kind."""
NO_IMAGES = "this model cannot see images; leave them out, or describe them in words"
"""What they say of pictures."""


def _above_zero(top_p: float) -> float:
    """Where zero keeps one token; ours wants a share that one token exceeds."""
    return max(top_p, 1e-6)


def _no_images(value: object) -> None:
    if value not in (None, []):
        raise PydanticCustomError(UNSUPPORTED, NO_IMAGES)


def string_list(value: object) -> object:
    """A string as a list of one."""
    return [value] if isinstance(value, str) else value


def refused_unless(*harmless: object) -> BeforeValidator:
    """For an option that is known and not supported, with the values that ask for nothing, besides the empty ones."""

    def check(value: object, info: ValidationInfo) -> None:
        if asks_for(value, harmless):
            raise PydanticCustomError(UNSUPPORTED, NOT_SUPPORTED, {"name": info.field_name})

    return BeforeValidator(check)


Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(ge=0, le=1), AfterValidator(_above_zero)]
NonEmpty = Annotated[str, Field(min_length=1)]
StopStrings = Annotated[
    Annotated[list[NonEmpty], FAIL_FAST] | None,
    BeforeValidator(string_list, json_schema_input_type=NonEmpty | list[NonEmpty] | None),
]
Refused = Annotated[None, refused_unless()]
NoImages = Annotated[None, BeforeValidator(_no_images)]
ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]
