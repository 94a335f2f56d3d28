"""Reply bodies of the Responses dialect; fields that are `UNSET` are left out."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

from msgspec import UNSET, Struct, UnsetType, field

from llama4coder.server.generation import Usage
from llama4coder.server.openai.replies import ChatTokenLogprob

ItemStatus = Literal["in_progress", "completed", "incomplete"]
ReplyStatus = Literal["in_progress", "completed", "incomplete", "failed"]


class OutputText(Struct, tag_field="type", tag="output_text"):
    text: str
    logprobs: list[ChatTokenLogprob] = field(default_factory=list)
    annotations: list[object] = field(default_factory=list)


class ReasoningText(Struct, tag_field="type", tag="reasoning_text"):
    text: str


class SummaryText(Struct, tag_field="type", tag="summary_text"):
    text: str


class OutputMessage(Struct, tag_field="type", tag="message"):
    id: str
    content: list[OutputText]
    status: ItemStatus
    role: Literal["assistant"] = "assistant"


class OutputReasoning(Struct, tag_field="type", tag="reasoning"):
    """Raw reasoning, in its content or, for clients that show no other, as its own summary."""

    id: str
    status: ItemStatus
    summary: list[SummaryText] = field(default_factory=list)
    content: list[ReasoningText] | UnsetType = UNSET
    encrypted_content: None = None


class OutputCall(Struct, tag_field="type", tag="function_call"):
    id: str
    call_id: str
    name: str
    arguments: str
    status: ItemStatus
    namespace: str | UnsetType = UNSET


class OutputCustomCall(Struct, tag_field="type", tag="custom_tool_call"):
    id: str
    call_id: str
    name: str
    input: str
    status: ItemStatus
    namespace: str | UnsetType = UNSET


OutputItem: TypeAlias = OutputMessage | OutputReasoning | OutputCall | OutputCustomCall


class InputDetails(Struct):
    """Nobody pays for writing to the cache."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputDetails(Struct):
    reasoning_tokens: int


class UsageReply(Struct):
    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class IncompleteDetails(Struct):
    reason: Literal["max_output_tokens"] = "max_output_tokens"


class ReplyError(Struct):
    code: Literal["server_error", "rate_limit_exceeded"]
    message: str


class Echo(Struct):
    """What a reply repeats of its request; `tools` are those that the model was offered."""

    model: str
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: Mapping[str, str]
    parallel_tool_calls: bool
    prompt_cache_key: str | None
    reasoning: Mapping[str, object]
    safety_identifier: str | None
    service_tier: Literal["default", "flex"]
    temperature: float
    text: Mapping[str, object]
    tool_choice: object
    tools: list[object]
    top_logprobs: int
    top_p: float
    user: str | None
    background: bool = False
    conversation: None = None
    object: Literal["response"] = "response"
    previous_response_id: None = None
    prompt: None = None
    store: bool = False
    truncation: Literal["disabled"] = "disabled"


class ResponseReply(Echo, kw_only=True):
    """A response at some time of its life."""

    id: str
    created_at: int
    status: ReplyStatus
    output: list[OutputItem]
    completed_at: int | None = None
    error: ReplyError | None = None
    incomplete_details: IncompleteDetails | None = None
    usage: UsageReply | None = None


class InputTokens(Struct):
    input_tokens: int
    object: Literal["response.input_tokens"] = "response.input_tokens"


def usage_reply(usage: Usage, num_reasoning_tokens: int) -> UsageReply:
    """Usage in this dialect's words."""
    return UsageReply(
        input_tokens=usage.num_prompt_tokens,
        input_tokens_details=InputDetails(usage.num_cached_tokens),
        output_tokens=usage.num_output_tokens,
        output_tokens_details=OutputDetails(num_reasoning_tokens),
        total_tokens=usage.num_prompt_tokens + usage.num_output_tokens,
    )
