"""A response as its sequence of named events."""

from llama4coder.server.errors import Refusal
from llama4coder.server.generation import Chunk, Usage
from llama4coder.server.responses.events import (
    ErrorEvent,
    Event,
    ResponseCompleted,
    ResponseCreated,
    ResponseFailed,
    ResponseIncomplete,
    ResponseInProgress,
)
from llama4coder.server.responses.writer import ResponseWriter
from llama4coder.server.sse import event_frame
from llama4coder.types import FinishReason


class ResponseFrames:
    """Every event has the number that follows the last one's; the last one has the whole response."""

    def __init__(self, writer: ResponseWriter) -> None:
        self._writer = writer
        self._num_events = 0
        self._finish_reason: FinishReason | None = None

    def chunk(self, chunk: Chunk) -> bytes:
        self._finish_reason = chunk.finish_reason
        return self._begin() + self._frames(*self._writer.output.push(chunk))

    def end(self, usage: Usage) -> bytes:
        assert self._finish_reason is not None
        response = self._writer.ended(self._finish_reason, usage)
        is_whole = self._finish_reason is FinishReason.STOP
        return self._frames((ResponseCompleted if is_whole else ResponseIncomplete)(response=response))

    def error(self, refusal: Refusal) -> bytes:
        error = ErrorEvent(code=refusal.code, message=refusal.message, param=refusal.param)
        return self._begin() + self._frames(error, ResponseFailed(response=self._writer.failed(refusal)))

    def _begin(self) -> bytes:
        if self._num_events:
            return b""
        begun = self._writer.begun()
        return self._frames(ResponseCreated(response=begun), ResponseInProgress(response=begun))

    def _frames(self, *events: Event) -> bytes:
        frames = b""
        for event in events:
            event.sequence_number = self._num_events
            self._num_events += 1
            frames += event_frame(event)
        return frames
