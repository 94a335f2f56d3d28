"""What a message wants besides its turns, as every dialect's chats know it."""

from collections.abc import Mapping

from llama4coder.errors import InvalidRequest
from llama4coder.server.answer_format import JsonSchema
from llama4coder.server.anthropic.schemas import CountRequest
from llama4coder.server.anthropic.tool_fields import ToolChoiceField, ToolField
from llama4coder.server.chat import ChatExtras
from llama4coder.server.choice import ReasoningDisplay
from llama4coder.server.tools import FREE_CHOICE, Tool, ToolChoice, check_tools

_EFFORTS: Mapping[str, str] = {"max": "xhigh"}  # where templates have another word
# Clients do not know our models, and name budgets by habit: Claude Code 4,000, 10,000 and 31,999.
_LOW_BUDGET_TOKENS = 4096
_MEDIUM_BUDGET_TOKENS = 16384


def chat_extras(body: CountRequest) -> ChatExtras:
    """The wishes of a message; `InvalidRequest` where its tools and its choice among them do not fit together."""
    choice = body.tool_choice
    is_none = choice is not None and choice.type == "none"
    tools = () if is_none else tuple(map(_tool, body.tools or ()))
    tool_choice = FREE_CHOICE if choice is None else _choice(choice)
    check_tools(tools, tool_choice)
    output_format = (body.output_config and body.output_config.format) or body.output_format
    return ChatExtras(
        continues_last=True,
        tools=tools,
        tool_choice=tool_choice,
        max_calls=1 if choice is not None and choice.disable_parallel_tool_use else None,
        answer_format=None if output_format is None else JsonSchema(output_format.schema_),
        format_field="output_config.format",
        reasoning_effort=_effort(body),
        reasoning_tokens=_budget(body),
        insists_on_effort=False,  # clients send it to whatever model there is
    )


def reasoning_display(body: CountRequest) -> ReasoningDisplay:
    """Models that cannot but think do so; who wants no thinking does not get to see it."""
    thinking = body.thinking
    if thinking is None:
        return ReasoningDisplay.SHOWN
    if thinking.type == "disabled":
        return ReasoningDisplay.DROPPED
    return ReasoningDisplay.EMPTY if thinking.display == "omitted" else ReasoningDisplay.SHOWN


def _tool(field: ToolField) -> Tool:
    return Tool(field.name, field.description, field.input_schema, bool(field.strict))


def _choice(field: ToolChoiceField) -> ToolChoice:
    if field.type == "tool":
        if field.name is None:
            raise InvalidRequest("the field 'tool_choice.name' is missing", "tool_choice.name")
        return ToolChoice(is_required=True, name=field.name)
    return ToolChoice(is_required=field.type == "any")


def _effort(body: CountRequest) -> str | None:
    thinking = body.thinking
    if thinking is not None and thinking.type == "disabled":
        return "none"
    if body.output_config is not None and body.output_config.effort is not None:
        return _EFFORTS.get(body.output_config.effort, body.output_config.effort)
    if thinking is None or thinking.type == "adaptive":
        return None
    return _effort_of_budget(thinking.budget_tokens)


def _budget(body: CountRequest) -> int | None:
    thinking = body.thinking
    return thinking.budget_tokens if thinking is not None and thinking.type == "enabled" else None


def _effort_of_budget(num_tokens: int | None) -> str:
    if num_tokens is None:
        return "medium"
    if num_tokens <= _LOW_BUDGET_TOKENS:
        return "low"
    return "medium" if num_tokens <= _MEDIUM_BUDGET_TOKENS else "high"
