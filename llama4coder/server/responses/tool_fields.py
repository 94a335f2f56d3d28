"""Fields that speak of tools, in the flat shape of this dialect."""

from typing import Annotated, Literal, get_args

from pydantic import Discriminator, Field, Tag

from llama4coder.server.body import UNSUPPORTED, RequestModel, kind_tag
from llama4coder.server.openai.tool_fields import MAX_TOOLS, FunctionName

_HOSTED = (
    "tools that OpenAI's own servers run do not exist here; the model can be offered 'function', 'custom' and "
    "'namespace', and 'web_search', 'image_generation' and 'tool_search' are left out"
)
_WebSearch = Literal["web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"]
_LeftOut = Literal[_WebSearch, "image_generation", "tool_search"]
_LEFT_OUT = frozenset(f"<{kind}>" for kind in get_args(_LeftOut))
_NO_SUCH_CHOICE = "must be 'auto', 'none', 'required', or name a function, a custom tool, or a list of allowed tools"


class FunctionField(RequestModel):
    """A function that the model may call; it is not `strict` unless told to be, since few schemas allow for that."""

    type: Literal["function"]
    name: FunctionName
    description: str | None = None
    parameters: dict[str, object] | None = None
    strict: bool | None = None


class TextFormat(RequestModel):
    """Any text."""

    type: Literal["text"]


class GrammarFormat(RequestModel):
    """Text of a grammar, which the model is told and not held to."""

    type: Literal["grammar"]
    syntax: Literal["lark", "regex"]
    definition: str


InputFormat = Annotated[
    Annotated[TextFormat, Tag("<text>")] | Annotated[GrammarFormat, Tag("<grammar>")],
    Discriminator(kind_tag, custom_error_type=UNSUPPORTED, custom_error_message="must be of type 'text' or 'grammar'"),
]


class CustomField(RequestModel):
    """A tool that takes plain text."""

    type: Literal["custom"]
    name: FunctionName
    description: str | None = None
    format: InputFormat | None = None


_OWN = Annotated[FunctionField, Tag("<function>")] | Annotated[CustomField, Tag("<custom>")]
OwnTool = Annotated[
    _OWN,
    Discriminator(
        kind_tag, custom_error_type=UNSUPPORTED, custom_error_message="must be of type 'function' or 'custom'"
    ),
]


class NamespaceField(RequestModel):
    """Tools under a name of their own."""

    type: Literal["namespace"]
    name: FunctionName
    description: str | None = None
    tools: Annotated[list[OwnTool], Field(max_length=MAX_TOOLS, fail_fast=True)]


class LeftOutField(RequestModel):
    """A tool that nobody here runs, and that agents send without relying on it."""

    type: _LeftOut


def _kind_of(value: object) -> str | None:
    tag = kind_tag(value)
    return "<left_out>" if tag in _LEFT_OUT else tag


AnyTool = Annotated[
    _OWN | Annotated[NamespaceField, Tag("<namespace>")] | Annotated[LeftOutField, Tag("<left_out>")],
    Discriminator(_kind_of, custom_error_type=UNSUPPORTED, custom_error_message=_HOSTED),
]
AnyTools = Annotated[list[AnyTool], Field(max_length=MAX_TOOLS, fail_fast=True)]


class NamedTool(RequestModel):
    """One tool by its name."""

    type: Literal["function", "custom"]
    name: FunctionName
    namespace: str | None = None


class AllowedTools(RequestModel):
    """Some of the tools, by their names."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, fail_fast=True)]


Mode = Literal["auto", "none", "required"]


def _choice_of(value: object) -> str | None:
    if isinstance(value, str):
        return "<mode>"
    return {"<allowed_tools>": "<allowed>", "<function>": "<named>", "<custom>": "<named>"}.get(kind_tag(value) or "")


AnyChoice = Annotated[
    Annotated[Mode, Tag("<mode>")] | Annotated[NamedTool, Tag("<named>")] | Annotated[AllowedTools, Tag("<allowed>")],
    Discriminator(_choice_of, custom_error_type=UNSUPPORTED, custom_error_message=f"'tool_choice' {_NO_SUCH_CHOICE}"),
]
