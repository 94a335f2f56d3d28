"""Writes one answer, whole or in parts: of a chat, or of a completion."""

import uuid
from abc import ABC, abstractmethod
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET

from llama4coder.server.choice import ChoiceReader, ReasoningDisplay, WholeReply, whole_reply
from llama4coder.server.generation import Chunk, Usage
from llama4coder.server.ollama.replies import DoneReason, FunctionReply, Reply, ReplyMessage, ToolCallReply
from llama4coder.server.reply.events import Event, ToolCall
from llama4coder.server.reply.reply import ReplyFormat
from llama4coder.types import FinishReason

_NOTHING = WholeReply(())


class Writer(ABC):
    """Calls the model as the client did."""

    def __init__(
        self,
        model: str,
        reply_format: ReplyFormat | None = None,
        display: ReasoningDisplay = ReasoningDisplay.SHOWN,
    ) -> None:
        self._model = model
        self._reply_format = reply_format
        self._display = display
        self._num_calls = 0

    def reader(self) -> ChoiceReader:
        """What reads an answer that comes in parts."""
        return ChoiceReader(self._reply_format, self._display)

    def part(self, event: Event) -> bytes:
        """A part on its way."""
        return msgspec.json.encode(self._reply(WholeReply((event,))))

    def whole(self, chunk: Chunk, usage: Usage) -> bytes:
        """The whole answer; the chunk has everything."""
        return self._encode_end(whole_reply(self._reply_format, chunk, self._display), chunk, usage)

    def end(self, last: Chunk, usage: Usage) -> bytes:
        """What follows a stream's last part."""
        return self._encode_end(_NOTHING, last, usage)

    def loaded(self) -> bytes:
        """The answer to a request that asks for nothing but the model."""
        return msgspec.json.encode(msgspec.structs.replace(self._reply(_NOTHING), done=True, done_reason="load"))

    def _encode_end(self, parts: WholeReply, last: Chunk, usage: Usage) -> bytes:
        ended = msgspec.structs.replace(
            self._reply(parts),
            done=True,
            done_reason=_done_reason(last),
            total_duration=_nanoseconds(usage.prompt_time_s + usage.output_time_s),
            load_duration=0,
            prompt_eval_count=usage.num_prompt_tokens,
            prompt_eval_duration=_nanoseconds(usage.prompt_time_s),
            eval_count=usage.num_output_tokens,
            eval_duration=_nanoseconds(usage.output_time_s),
        )
        return msgspec.json.encode(ended)

    def _reply(self, parts: WholeReply) -> Reply:
        return self._with_parts(Reply(model=self._model, created_at=datetime.now(UTC)), parts)

    @abstractmethod
    def _with_parts(self, reply: Reply, parts: WholeReply) -> Reply: ...


class ChatWriter(Writer):
    """Parts are those of a message."""

    def _with_parts(self, reply: Reply, parts: WholeReply) -> Reply:
        calls = list(map(self._call, parts.calls))
        message = ReplyMessage(parts.content, thinking=parts.reasoning or UNSET, tool_calls=calls or UNSET)
        return msgspec.structs.replace(reply, message=message)

    def _call(self, call: ToolCall) -> ToolCallReply:
        function = FunctionReply(self._num_calls, call.name, call.arguments_line)
        self._num_calls += 1
        return ToolCallReply(f"call_{uuid.uuid4().hex[:24]}", function)


class CompletionWriter(Writer):
    """Texts stand for themselves."""

    def _with_parts(self, reply: Reply, parts: WholeReply) -> Reply:
        return msgspec.structs.replace(reply, response=parts.content, thinking=parts.reasoning or UNSET)


def _done_reason(last: Chunk) -> DoneReason:
    return "stop" if last.finish_reason is FinishReason.STOP else "length"


def _nanoseconds(duration_s: float) -> int:
    return round(duration_s * 1e9)
