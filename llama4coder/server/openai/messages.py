"""Messages and tools of OpenAI's dialect as chat templates know them."""

from collections.abc import Sequence

from llama4coder.server.chat import ChatExtras
from llama4coder.server.openai.format_fields import asked_format
from llama4coder.server.openai.schemas import ChatMessage, ChatRequest
from llama4coder.server.openai.tool_fields import ChosenTools, ToolField
from llama4coder.server.tools import FREE_CHOICE, NO_PARAMETERS, Message, Tool, check_tools, template_call


def template_messages(messages: Sequence[ChatMessage]) -> list[Message]:
    """Messages as templates know them; OpenAI's `developer` is everyone else's `system`."""
    return [_template_message(message) for message in messages]


def _template_message(message: ChatMessage) -> Message:
    calls = [template_call(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]
    extras: dict[str, object] = {
        "name": message.name,
        "tool_calls": calls or None,
        "tool_call_id": message.tool_call_id,
        "reasoning_content": message.reasoning_content,
    }
    role = "system" if message.role == "developer" else message.role
    return {"role": role, "content": message.content} | {
        key: value for key, value in extras.items() if value is not None
    }


def chat_extras(body: ChatRequest) -> ChatExtras:
    """What a chat wants besides its messages.

    Raises:
        InvalidRequest: two tools have one name, a tool is chosen that is not offered, or there are several formats.
    """
    chosen = body.tool_choice or ChosenTools(FREE_CHOICE)
    tools = tuple(map(_tool, body.tools or ())) if chosen.offers_any else ()
    check_tools(tools, chosen.choice)
    asked = asked_format(body)
    return ChatExtras(
        add_generation_prompt=body.add_generation_prompt is not False,
        tools=tools,
        tool_choice=chosen.choice,
        max_calls=1 if body.parallel_tool_calls is False else None,
        answer_format=asked.answer_format,
        format_field=asked.field,
        reasoning_effort=body.reasoning_effort,
        reasoning_tokens=None if body.thinking_token_budget == -1 else body.thinking_token_budget,
        template_settings=body.chat_template_kwargs or {},
    )


def _tool(field: ToolField) -> Tool:
    function = field.function
    return Tool(function.name, function.description, function.parameters or NO_PARAMETERS, bool(function.strict))
