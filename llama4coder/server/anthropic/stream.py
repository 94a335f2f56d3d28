"""A message as Anthropic's sequence of named events."""

from llama4coder.server.anthropic.replies import (
    BlockDelta,
    BlockStart,
    BlockStop,
    MessageDelta,
    MessageStart,
    MessageStop,
    TextBlock,
    TextDelta,
    usage_reply,
)
from llama4coder.server.anthropic.writer import MessageWriter
from llama4coder.server.error_bodies import anthropic_error
from llama4coder.server.errors import Refusal
from llama4coder.server.generation import Chunk, Usage
from llama4coder.server.sse import Wire, event_frame, named_frame

PING = named_frame("ping", b'{"type":"ping"}')
ANTHROPIC_SSE = Wire("text/event-stream", PING)


class MessageFrames:
    """A message with one block of text; its last event but one has the stop reason and the usage."""

    def __init__(self, writer: MessageWriter) -> None:
        self._writer = writer
        self._last: Chunk | None = None

    def chunk(self, chunk: Chunk) -> bytes:
        frames = self._start(chunk) if self._last is None else b""
        self._last = chunk
        return frames + (event_frame(BlockDelta(TextDelta(chunk.text))) if chunk.text else b"")

    def _start(self, first: Chunk) -> bytes:
        message = self._writer.message([], self._writer.first_usage(first))
        return event_frame(MessageStart(message)) + event_frame(BlockStart(TextBlock(""))) + PING

    def end(self, usage: Usage) -> bytes:
        assert self._last is not None
        delta = MessageDelta(self._writer.ending(self._last), usage_reply(usage))
        return event_frame(BlockStop()) + event_frame(delta) + event_frame(MessageStop())

    def error(self, refusal: Refusal) -> bytes:
        return named_frame("error", anthropic_error(refusal, self._writer.request_id))
