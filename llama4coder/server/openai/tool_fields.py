"""Fields of OpenAI's dialect that speak of tools."""

from typing import Annotated, Literal

import msgspec
from pydantic import BeforeValidator, Field, PlainValidator
from pydantic_core import PydanticCustomError

from llama4coder.server.body import UNSUPPORTED, RequestModel

MAX_TOOLS = 128
"""OpenAI's own limit."""
_CONSTRAINED = "needs constrained decoding, which is not supported yet"


def _refuse_strict(value: object) -> None:
    if value not in (None, False):
        raise PydanticCustomError(UNSUPPORTED, f"the option 'strict' {_CONSTRAINED}; leave it out")


def _free_choice(value: object) -> object:
    """`required` and named tools, in either of OpenAI's shapes, are known and not supported."""
    if value == "required" or isinstance(value, dict):
        message = f"the option 'tool_choice' with any value but 'auto' and 'none' {_CONSTRAINED}"
        raise PydanticCustomError(UNSUPPORTED, message)
    return value


def json_object(value: object) -> dict[str, object]:
    """Arguments of a call: JSON text of an object; nothing at all stands for none."""
    if not isinstance(value, str):
        raise ValueError("must be a string with the JSON text of an object")
    try:
        content = msgspec.json.decode(value.strip() or "{}")
    except (msgspec.DecodeError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ValueError("must be the JSON text of an object")
    return content


def _only_functions(value: object) -> object:
    if isinstance(value, str) and value != "function":
        raise PydanticCustomError(UNSUPPORTED, "only tools of type 'function' are supported")
    return value


FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
FunctionType = Annotated[Literal["function"], BeforeValidator(_only_functions)]


class FunctionField(RequestModel):
    """A function that the model may call; without parameters it takes none."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, object] | None = None
    strict: Annotated[None, BeforeValidator(_refuse_strict)] = None


class ToolField(RequestModel):
    """One entry of `tools`."""

    type: FunctionType
    function: FunctionField


class CalledFunction(RequestModel):
    """What was called; the arguments have become an object."""

    name: Annotated[str, Field(min_length=1)]
    arguments: Annotated[dict[str, object], PlainValidator(json_object, json_schema_input_type=str)]


class ToolCallField(RequestModel):
    """A call that an earlier reply made."""

    id: Annotated[str, Field(min_length=1)]
    type: FunctionType = "function"
    function: CalledFunction


ToolFields = Annotated[list[ToolField], Field(max_length=MAX_TOOLS, fail_fast=True)]
ToolChoice = Annotated[Literal["auto", "none"], BeforeValidator(_free_choice)]
