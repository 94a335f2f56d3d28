"""Request bodies of Anthropic's dialect.

Unknown fields are ignored, as are betas, `cache_control` (prefixes are always cached), `context_management` (thinking
of earlier turns is always dropped) and the hints `metadata`, `service_tier`, `inference_geo` and the effort in
`output_config`. What is known and not supported is refused by name. Source: the parameter types of Anthropic's SDK.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from llama4coder.server.anthropic.content import content_text, system_text
from llama4coder.server.body import FAIL_FAST, RequestModel
from llama4coder.server.fields import NonEmpty, NoTools, Temperature, TopP, refused_unless

Content = Annotated[str, BeforeValidator(content_text)]


class InputMessage(RequestModel):
    """One turn; its content has become plain text."""

    role: Literal["user", "assistant", "system"]
    content: Content


class Thinking(RequestModel):
    """How the model may think; ours never do, which `adaptive` leaves to them."""

    type: Annotated[None, refused_unless("disabled", "adaptive")] = None


class ToolChoice(RequestModel):
    """Whether tools are to be used; where there are none, these say the same."""

    type: Annotated[None, refused_unless("auto", "none")] = None


class OutputConfig(RequestModel):
    """What the answer is to be like."""

    format: Annotated[None, refused_unless()] = None


class CountRequest(RequestModel):
    """Body of `POST /v1/messages/count_tokens`, and the part of a message's that makes its prompt."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "container": (),
        "mcp_servers": (),
        "speed": ("standard",),
    }

    model: str
    messages: Annotated[list[InputMessage], Field(min_length=1, fail_fast=True)]
    system: Annotated[str, BeforeValidator(system_text)] = ""
    tools: NoTools = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None


class MessageRequest(CountRequest):
    """Body of `POST /v1/messages`."""

    max_tokens: Annotated[int, Field(ge=1)]
    stop_sequences: Annotated[list[NonEmpty], FAIL_FAST] | None = None
    stream: bool | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
