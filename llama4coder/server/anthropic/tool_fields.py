"""Fields of Anthropic's dialect that speak of tools."""

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from llama4coder.server.body import FAIL_FAST, UNSUPPORTED, RequestModel
from llama4coder.server.fields import ToolName

# A tool's type is one of these and a date.
_RUN_BY_SERVERS = ("web_search", "web_fetch", "code_execution", "tool_search_tool_bm25", "tool_search_tool_regex")
_KNOWN_TO_THEIR_MODELS = ("bash", "text_editor", "memory", "computer", "computer_toolset", "browser_toolset")
_DATE = re.compile(r"_\d{8}\Z")


def _own_tool(kind: object) -> object:
    if not isinstance(kind, str) or kind == "custom":
        return kind
    family = _DATE.sub("", kind)
    if family in _RUN_BY_SERVERS or kind == "mcp_toolset":
        message = "'{kind}' runs on Anthropic's servers, which are out of reach here; leave it out"
    elif family in _KNOWN_TO_THEIR_MODELS:
        message = (
            "only Anthropic's models know what '{kind}' takes; describe it as a tool of one's own, by 'input_schema'"
        )
    else:
        family, message = "", "only tools of type 'custom', which is also the default, are supported"
    raise PydanticCustomError(UNSUPPORTED, message, {"kind": family or "mcp_toolset"})


class ToolField(RequestModel):
    """A function that the client runs.

    `cache_control`, `eager_input_streaming`, `defer_loading`, `allowed_callers` and `input_examples` have no effect:
    every tool is shown from the beginning, by its name, description and schema.
    """

    type: Annotated[Literal["custom"] | None, BeforeValidator(_own_tool)] = None
    name: ToolName
    description: str | None = None
    input_schema: dict[str, object]
    strict: bool | None = None


class ToolChoiceField(RequestModel):
    """Whether tools are to be used; `name` goes with `tool` alone."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


ToolFields = Annotated[list[ToolField], FAIL_FAST]
