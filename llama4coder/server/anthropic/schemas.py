"""Request bodies of Anthropic's dialect.

Unknown fields are ignored, as are betas, `cache_control` (prefixes are always cached), `context_management` (what
earlier turns thought is shown as far as the model's template shows it) and the hints `metadata`, `service_tier` and
`inference_geo`. What is known and not supported is refused by name. Source: the parameter types of Anthropic's SDK.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from llama4coder.server.anthropic.blocks import (
    Blocks,
    DocumentBlock,
    SystemBlocks,
    TextBlock,
    ToolResultBlock,
)
from llama4coder.server.anthropic.tool_fields import ToolChoiceField, ToolFields
from llama4coder.server.body import FAIL_FAST, RequestModel
from llama4coder.server.fields import NonEmpty, Temperature, TopP

_TEXTS = (TextBlock, DocumentBlock)
_OF_USERS = (*_TEXTS, ToolResultBlock)


class InputMessage(RequestModel):
    """One turn."""

    role: Literal["user", "assistant", "system"]
    content: Blocks

    @model_validator(mode="after")
    def with_blocks_of_its_role(self) -> Self:
        """Only assistants think and call tools, and only users tell what came of it."""
        if self.role == "assistant" and any(isinstance(block, ToolResultBlock) for block in self.content):
            raise ValueError("a tool_result belongs to the user's turn")
        if self.role == "user" and not all(isinstance(block, _OF_USERS) for block in self.content):
            raise ValueError("a user's turn may hold text, documents and tool results, and nothing else")
        if self.role == "system" and not all(isinstance(block, _TEXTS) for block in self.content):
            raise ValueError("what the system says may be text and documents, and nothing else")
        return self


class Thinking(RequestModel):
    """Whether the model may think, about how long, and whether its thoughts are to be seen.

    A budget is a wish for an effort, and closes the reasoning of models that have tokens for it.
    """

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Annotated[int, Field(ge=1)] | None = None
    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(RequestModel):
    """What the answer is to be like."""

    type: Literal["json_schema"]
    schema_: Annotated[dict[str, object], Field(alias="schema")]


class OutputConfig(RequestModel):
    """How the answer is to be."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class CountRequest(RequestModel):
    """Body of `POST /v1/messages/count_tokens`, and the part of a message's that makes its prompt.

    `output_format` is how a beta called what is now in `output_config`.
    """

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "container": (),
        "mcp_servers": (),
        "speed": ("standard",),
    }

    model: str
    messages: Annotated[list[InputMessage], Field(min_length=1, fail_fast=True)]
    system: SystemBlocks = Field(default_factory=list)
    tools: ToolFields | None = None
    tool_choice: ToolChoiceField | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None


class MessageRequest(CountRequest):
    """Body of `POST /v1/messages`."""

    max_tokens: Annotated[int, Field(ge=1)]
    stop_sequences: Annotated[list[NonEmpty], FAIL_FAST] | None = None
    stream: bool | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
