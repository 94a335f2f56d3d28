"""Reply bodies and events of Anthropic's dialect."""

from typing import Literal

from msgspec import Struct

from llama4coder.server.generation import Chunk, Usage
from llama4coder.types import FinishReason

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "model_context_window_exceeded"]


class UsageReply(Struct):
    """`input_tokens` are those that were not found in the prefix cache; nobody pays for writing to it."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_creation_input_tokens: int = 0


class TextBlock(Struct):
    text: str
    type: Literal["text"] = "text"


class MessageReply(Struct):
    id: str
    model: str
    content: list[TextBlock]
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
    content_block: TextBlock
    index: int = 0


class TextDelta(Struct, tag_field="type", tag="text_delta"):
    text: str


class BlockDelta(Struct, tag_field="type", tag="content_block_delta"):
    delta: TextDelta
    index: int = 0


class BlockStop(Struct, tag_field="type", tag="content_block_stop"):
    index: int = 0


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


def ending(last: Chunk, *, was_clamped: bool) -> Ending:
    """Why an answer ended; one that was clamped to the context had less room than it asked for."""
    if last.stop_string is not None:
        return Ending("stop_sequence", last.stop_string)
    if last.finish_reason is FinishReason.STOP:
        return Ending("end_turn", None)
    return Ending("model_context_window_exceeded" if was_clamped else "max_tokens", None)
