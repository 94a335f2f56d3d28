"""A message as Anthropic's sequence of named events."""

from llama4coder.server.anthropic.parts import begun_block, delta, last_delta
from llama4coder.server.anthropic.replies import (
    BlockDelta,
    BlockStart,
    BlockStop,
    MessageDelta,
    MessageStart,
    MessageStop,
    usage_reply,
)
from llama4coder.server.anthropic.writer import MessageWriter
from llama4coder.server.error_bodies import anthropic_error
from llama4coder.server.errors import Refusal
from llama4coder.server.generation import Chunk, Usage
from llama4coder.server.reply.events import Content, Event, Reasoning, ToolCall
from llama4coder.server.sse import Wire, event_frame, named_frame

PING = named_frame("ping", b'{"type":"ping"}')
ANTHROPIC_SSE = Wire("text/event-stream", PING)


class BlockFrames:
    """Blocks one after another, each begun, filled and ended; a call is a block of its own, filled at once."""

    def __init__(self) -> None:
        self._index = -1
        self._kind: type[Event] | None = None  # of the block that is open

    def push(self, event: Event) -> bytes:
        """What an event adds, and whatever must end or begin for it."""
        frames = b"" if type(event) is self._kind and not isinstance(event, ToolCall) else self._turn_to(event)
        says_nothing = isinstance(event, Content | Reasoning) and not event.text
        return frames if says_nothing else frames + event_frame(BlockDelta(delta(event), self._index))

    def finish(self) -> bytes:
        """The end of the last block; a message without any has an empty text."""
        return (self._turn_to(Content("")) if self._kind is None else b"") + self._close()

    def _turn_to(self, event: Event) -> bytes:
        closed = self._close()
        self._index += 1
        self._kind = type(event)
        return closed + event_frame(BlockStart(begun_block(event), self._index))

    def _close(self) -> bytes:
        if self._kind is None:
            return b""
        last = last_delta(self._kind)
        filled = b"" if last is None else event_frame(BlockDelta(last, self._index))
        return filled + event_frame(BlockStop(self._index))


class MessageFrames:
    """A message's blocks; its last event but one has the stop reason and the usage."""

    def __init__(self, writer: MessageWriter) -> None:
        self._writer = writer
        self._reader = writer.reader()
        self._blocks = BlockFrames()
        self._last: Chunk | None = None

    def chunk(self, chunk: Chunk) -> bytes:
        frames = self._start(chunk) if self._last is None else b""
        self._last = chunk
        return frames + b"".join(map(self._blocks.push, self._reader.read(chunk)))

    def _start(self, first: Chunk) -> bytes:
        return event_frame(MessageStart(self._writer.message([], self._writer.first_usage(first)))) + PING

    def end(self, usage: Usage) -> bytes:
        assert self._last is not None
        end = self._writer.ending(self._last, has_calls=self._reader.num_calls > 0)
        return self._blocks.finish() + event_frame(MessageDelta(end, usage_reply(usage))) + event_frame(MessageStop())

    def error(self, refusal: Refusal) -> bytes:
        return named_frame("error", anthropic_error(refusal, self._writer.request_id))
