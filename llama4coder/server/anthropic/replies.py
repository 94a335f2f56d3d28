"""Reply bodies and events of Anthropic's dialect."""

from typing import Literal

from msgspec import Raw, Struct

from llama4coder.server.generation import Chunk, Usage
from llama4coder.types import FinishReason

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"]


class UsageReply(Struct):
    """`input_tokens` are those that were not found in the prefix cache; nobody pays for writing to it."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_creation_input_tokens: int = 0


class TextBlock(Struct, tag_field="type", tag="text"):
    text: str


class ThinkingBlock(Struct, tag_field="type", tag="thinking"):
    thinking: str
    signature: str


class ToolUseBlock(Struct, tag_field="type", tag="tool_use"):
    """`input` is the JSON text of an object."""

    id: str
    name: str
    input: Raw


Block = TextBlock | ThinkingBlock | ToolUseBlock


class MessageReply(Struct):
    id: str
    model: str
    content: list[Block]
    usage: UsageReply
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    role: Literal["assistant"] = "assistant"
    type: Literal["message"] = "message"


class TokenCount(Struct):
    input_tokens: int


class MessageStart(Struct, tag_field="type", tag="message_start"):
    message: MessageReply


class BlockStart(Struct, tag_field="type", tag="content_block_start"):
    content_block: Block
    index: int


class TextDelta(Struct, tag_field="type", tag="text_delta"):
    text: str


class ThinkingDelta(Struct, tag_field="type", tag="thinking_delta"):
    thinking: str


class SignatureDelta(Struct, tag_field="type", tag="signature_delta"):
    signature: str


class InputDelta(Struct, tag_field="type", tag="input_json_delta"):
    partial_json: str


Delta = TextDelta | ThinkingDelta | SignatureDelta | InputDelta


class BlockDelta(Struct, tag_field="type", tag="content_block_delta"):
    delta: Delta
    index: int


class BlockStop(Struct, tag_field="type", tag="content_block_stop"):
    index: int


class Ending(Struct):
    stop_reason: StopReason
    stop_sequence: str | None


class MessageDelta(Struct, tag_field="type", tag="message_delta"):
    delta: Ending
    usage: UsageReply


class MessageStop(Struct, tag_field="type", tag="message_stop"):
    pass


def usage_reply(usage: Usage) -> UsageReply:
    """Usage in Anthropic's words."""
    cached = usage.num_cached_tokens
    return UsageReply(usage.num_prompt_tokens - cached, usage.num_output_tokens, cached)


def ending(last: Chunk, *, has_calls: bool, was_clamped: bool) -> Ending:
    """Why an answer ended; one that was clamped to the context had less room than it asked for."""
    if last.stop_string is not None:
        return Ending("stop_sequence", last.stop_string)
    if last.finish_reason is FinishReason.STOP:
        return Ending("tool_use" if has_calls else "end_turn", None)
    return Ending("model_context_window_exceeded" if was_clamped else "max_tokens", None)
