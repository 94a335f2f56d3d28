"""Parts of a reply as Anthropic's content blocks, whole or on their way."""

import uuid

from msgspec import Raw

from llama4coder.server.anthropic.replies import (
    Block,
    Delta,
    InputDelta,
    SignatureDelta,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolUseBlock,
)
from llama4coder.server.reply.events import Content, Event, Reasoning

# There is nothing to sign: nobody checks what comes back. Vercel's AI SDK forgets thoughts that have no signature.
_SIGNATURE = "unsigned"
_NO_INPUT = Raw(b"{}")


def whole_block(event: Event) -> Block:
    """A part that has everything."""
    if isinstance(event, Content):
        return TextBlock(event.text)
    if isinstance(event, Reasoning):
        return ThinkingBlock(event.text, _SIGNATURE)
    return ToolUseBlock(_call_id(), event.name, event.arguments_line)


def begun_block(event: Event) -> Block:
    """A block of the same kind that has nothing yet."""
    if isinstance(event, Content):
        return TextBlock("")
    if isinstance(event, Reasoning):
        return ThinkingBlock("", "")
    return ToolUseBlock(_call_id(), event.name, _NO_INPUT)


def delta(event: Event) -> Delta:
    """What an event adds to its block."""
    if isinstance(event, Content):
        return TextDelta(event.text)
    if isinstance(event, Reasoning):
        return ThinkingDelta(event.text)
    return InputDelta(event.arguments)


def last_delta(kind: type[Event]) -> Delta | None:
    """What a block of this kind ends with."""
    return SignatureDelta(_SIGNATURE) if kind is Reasoning else None


def _call_id() -> str:
    return f"toolu_{uuid.uuid4().hex[:24]}"
