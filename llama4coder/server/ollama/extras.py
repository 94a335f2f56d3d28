"""What a request wants besides its texts, as every dialect's chats know it."""

from llama4coder.errors import UnsupportedOption
from llama4coder.server.answer_format import AnswerFormat, JsonObject, JsonSchema
from llama4coder.server.chat import ChatExtras
from llama4coder.server.choice import ReasoningDisplay
from llama4coder.server.ollama.schemas import ChatRequest, GenerationFields
from llama4coder.server.ollama.tool_fields import ToolField
from llama4coder.server.preprocess import Preprocessor
from llama4coder.server.tools import NO_PARAMETERS, Tool, check_tools


def generation_extras(body: GenerationFields, tools: tuple[Tool, ...] = ()) -> ChatExtras:
    """The wishes that chats and completions have in common."""
    return ChatExtras(
        continues_last=True,
        tools=tools,
        answer_format=_answer_format(body),
        format_field="format",
        reasoning_effort=_effort(body),
        insists_on_effort=False,  # `check_think` knows better
    )


def chat_extras(body: ChatRequest) -> ChatExtras:
    """The wishes of a chat; `InvalidRequest` where two tools have one name."""
    tools = tuple(map(_tool, body.tools or ()))
    check_tools(tools)
    return generation_extras(body, tools)


def check_think(preprocessor: Preprocessor, body: GenerationFields) -> None:
    """Raise `UnsupportedOption` if a model is told to think that does not know how."""
    if body.think and not preprocessor.can_think:
        raise UnsupportedOption("this model does not think; leave 'think' out, or set it to false", "think")


def reasoning_display(body: GenerationFields) -> ReasoningDisplay:
    """Models that cannot but think do so; who wants no thinking does not get to see it."""
    return ReasoningDisplay.DROPPED if body.think is False else ReasoningDisplay.SHOWN


def _tool(field: ToolField) -> Tool:
    function = field.function
    return Tool(function.name, function.description, function.parameters or NO_PARAMETERS)


def _answer_format(body: GenerationFields) -> AnswerFormat | None:
    if body.format is None:
        return None
    return JsonObject() if isinstance(body.format, str) else JsonSchema(body.format)


def _effort(body: GenerationFields) -> str | None:
    if isinstance(body.think, bool):
        return "medium" if body.think else "none"
    return body.think
