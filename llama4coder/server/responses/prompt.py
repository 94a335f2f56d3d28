"""A conversation as the prompt that the model's own template makes of it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from llama4coder.errors import RequestError
from llama4coder.server.answer_format import AnswerFormat, JsonObject, JsonSchema
from llama4coder.server.chat import ChatExtras
from llama4coder.server.generation import Prompt
from llama4coder.server.preprocess import Preprocessor
from llama4coder.server.responses.items import (
    CallOutputItem,
    CustomCallItem,
    FunctionCallItem,
    Item,
    MessageItem,
    ReasoningItem,
)
from llama4coder.server.responses.offers import Offers, custom_arguments, offered_name
from llama4coder.server.responses.schemas import InputRequest, JsonObjectFormat, JsonSchemaFormat
from llama4coder.server.tools import Message, template_call
from llama4coder.server.turns import template_turns

_NAMES: Mapping[str | None, str] = {  # what chats call a field -> what it is called here
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "logprobs": "top_logprobs",
}
_HIGHEST_EFFORT = "xhigh"  # that templates have heard of


async def to_prompt(preprocessor: Preprocessor, body: InputRequest, extras: ChatExtras) -> Prompt:
    """The prompt. Raises what `chat_prompt` raises."""
    messages = [_message(item) for item in body.input]
    turns = template_turns([{"role": "system", "content": body.instructions or ""}, *messages])
    prompt = await preprocessor.chat_prompt(list(turns), extras)
    return replace(prompt, param="input")


def chat_extras(body: InputRequest, offers: Offers) -> ChatExtras:
    """What a response wants besides its conversation."""
    return ChatExtras(
        tools=offers.tools,
        tool_choice=offers.choice,
        max_calls=1 if body.parallel_tool_calls is False else None,
        answer_format=_answer_format(body),
        format_field="text.format",
        reasoning_effort=_effort(body),
    )


@contextmanager
def fields_of_responses() -> Iterator[None]:
    """Whatever is refused within names the fields of this dialect."""
    try:
        yield
    except RequestError as error:
        error.param = _NAMES.get(error.param, error.param)
        raise


def _effort(body: InputRequest) -> str | None:
    effort = None if body.reasoning is None else body.reasoning.effort
    return _HIGHEST_EFFORT if effort == "max" else effort


def _answer_format(body: InputRequest) -> AnswerFormat | None:
    wanted = None if body.text is None else body.text.format
    if isinstance(wanted, JsonSchemaFormat):
        return JsonSchema(wanted.json_schema)
    return JsonObject() if isinstance(wanted, JsonObjectFormat) else None


def _message(item: Item) -> Message:
    """One item; neighbours of one role become one turn later."""
    match item:
        case MessageItem():
            return {"role": "system" if item.role == "developer" else item.role, "content": item.content}
        case ReasoningItem():
            return {"role": "assistant", "content": "", "reasoning_content": item.content or item.summary}
        case FunctionCallItem():
            return _call(item, item.arguments)
        case CustomCallItem():
            return _call(item, custom_arguments(item.input))
        case CallOutputItem():
            return {"role": "tool", "content": item.output, "tool_call_id": item.call_id}


def _call(item: FunctionCallItem | CustomCallItem, arguments: Mapping[str, object]) -> Message:
    name = offered_name(item.name, item.namespace)
    return {"role": "assistant", "content": "", "tool_calls": [template_call(item.call_id, name, arguments)]}
