"""Items of `input`; their contents have become plain text."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, PlainValidator, Tag

from llama4coder.server.body import UNSUPPORTED, RequestModel, kind_tag
from llama4coder.server.fields import NonEmpty
from llama4coder.server.openai.tool_fields import json_object
from llama4coder.server.responses.content import content_text, output_text, parts_text

_UNKNOWN = (
    "'input' may hold messages, reasoning, calls of functions and of custom tools, and what they gave back; nothing is "
    "kept here that an item of another kind could refer to, so send the whole conversation as such items"
)

# Contents as they come, for descriptions of the API.
Shapes = str | list[dict[str, object]]


class MessageItem(RequestModel):
    """What somebody said."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Annotated[str, BeforeValidator(content_text, json_schema_input_type=Shapes)]


class ReasoningItem(RequestModel):
    """What the model thought before what follows; ours is never encrypted."""

    type: Literal["reasoning"]
    summary: Annotated[str, BeforeValidator(parts_text, json_schema_input_type=list[dict[str, object]] | None)] = ""
    content: Annotated[str, BeforeValidator(parts_text, json_schema_input_type=list[dict[str, object]] | None)] = ""


class FunctionCallItem(RequestModel):
    """A call that an earlier reply made; its arguments have become an object."""

    type: Literal["function_call"]
    call_id: NonEmpty
    name: NonEmpty
    namespace: str | None = None
    arguments: Annotated[dict[str, object], PlainValidator(json_object, json_schema_input_type=str)]


class CustomCallItem(RequestModel):
    """A call with plain text in place of arguments."""

    type: Literal["custom_tool_call"]
    call_id: NonEmpty
    name: NonEmpty
    namespace: str | None = None
    input: str


class CallOutputItem(RequestModel):
    """What a call of either kind gave back."""

    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: NonEmpty
    output: Annotated[str, BeforeValidator(output_text, json_schema_input_type=Shapes)]


def _kind_of(value: object) -> str | None:
    return "<message>" if isinstance(value, dict) and "type" not in value and "role" in value else kind_tag(value)


Item = Annotated[
    Annotated[MessageItem, Tag("<message>")]
    | Annotated[ReasoningItem, Tag("<reasoning>")]
    | Annotated[FunctionCallItem, Tag("<function_call>")]
    | Annotated[CustomCallItem, Tag("<custom_tool_call>")]
    | Annotated[CallOutputItem, Tag("<function_call_output>")]
    | Annotated[CallOutputItem, Tag("<custom_tool_call_output>")],
    Discriminator(_kind_of, custom_error_type=UNSUPPORTED, custom_error_message=_UNKNOWN),
]


def _as_items(value: object) -> object:
    """Text alone is what the user says."""
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


ItemList = Annotated[list[Item], Field(min_length=1, fail_fast=True)]
Items = Annotated[ItemList, BeforeValidator(_as_items, json_schema_input_type=str | ItemList)]
