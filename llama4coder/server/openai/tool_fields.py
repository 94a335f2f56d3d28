"""Fields of OpenAI's dialect that speak of tools."""

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from pydantic import BeforeValidator, Field, PlainValidator
from pydantic_core import PydanticCustomError

from llama4coder.server.body import UNSUPPORTED, RequestModel
from llama4coder.server.tools import FREE_CHOICE, ToolChoice

MAX_TOOLS = 128
"""OpenAI's own limit."""


@dataclass(frozen=True, slots=True)
class ChosenTools:
    """`tool_choice`."""

    choice: ToolChoice
    offers_any: bool = True  # the model is shown tools at all


_BY_WORD = {
    "auto": ChosenTools(FREE_CHOICE),
    "required": ChosenTools(ToolChoice(is_required=True)),
    "none": ChosenTools(FREE_CHOICE, offers_any=False),
}


def _tool_choice(value: object) -> ChosenTools:
    """A word, a function by its name, or those that may be called, with whether one must be."""
    match value:
        case str() if value in _BY_WORD:
            return _BY_WORD[value]
        case {"type": "function", "function": {"name": str(name)}}:
            return ChosenTools(ToolChoice(is_required=True, name=name))
        case {"type": "allowed_tools", "allowed_tools": {"mode": "auto" | "required" as mode, "tools": [*tools]}}:
            return ChosenTools(ToolChoice(is_required=mode == "required", allowed=tuple(map(_function_name, tools))))
        case {"type": "custom"}:
            raise PydanticCustomError(UNSUPPORTED, "only tools of type 'function' are supported")
    raise ValueError("must be 'auto', 'none', 'required', a function by its name, or 'allowed_tools'")


def _function_name(value: object) -> str:
    match value:
        case {"type": "function", "function": {"name": str(name)}}:
            return name
    raise ValueError("every allowed tool must be a function by its name")


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
    strict: bool | None = None


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
ToolChoiceField = Annotated[ChosenTools, PlainValidator(_tool_choice)]
