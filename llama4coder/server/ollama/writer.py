"""Writes one answer, whole or in parts: of a chat, or of a completion."""

from abc import ABC, abstractmethod
from datetime import UTC, datetime

import msgspec

from llama4coder.server.generation import Chunk, Usage
from llama4coder.server.ollama.replies import DoneReason, Reply, ReplyMessage
from llama4coder.types import FinishReason


class Writer(ABC):
    """Calls the model as the client did."""

    def __init__(self, model: str) -> None:
        self._model = model

    def part(self, text: str) -> bytes:
        """A text on its way."""
        return msgspec.json.encode(self._reply(text))

    def whole(self, chunk: Chunk, usage: Usage) -> bytes:
        """The whole answer; the chunk has everything."""
        return self._encode_end(chunk.text, chunk, usage)

    def end(self, last: Chunk, usage: Usage) -> bytes:
        """What follows a stream's last text."""
        return self._encode_end("", last, usage)

    def loaded(self) -> bytes:
        """The answer to a request that asks for nothing but the model."""
        return msgspec.json.encode(msgspec.structs.replace(self._reply(""), done=True, done_reason="load"))

    def _encode_end(self, text: str, last: Chunk, usage: Usage) -> bytes:
        ended = msgspec.structs.replace(
            self._reply(text),
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

    def _reply(self, text: str) -> Reply:
        return self._with_text(Reply(model=self._model, created_at=datetime.now(UTC)), text)

    @abstractmethod
    def _with_text(self, reply: Reply, text: str) -> Reply: ...


class ChatWriter(Writer):
    """Texts are parts of a message."""

    def _with_text(self, reply: Reply, text: str) -> Reply:
        return msgspec.structs.replace(reply, message=ReplyMessage(text))


class CompletionWriter(Writer):
    """Texts stand for themselves."""

    def _with_text(self, reply: Reply, text: str) -> Reply:
        return msgspec.structs.replace(reply, response=text)


def _done_reason(last: Chunk) -> DoneReason:
    return "stop" if last.finish_reason is FinishReason.STOP else "length"


def _nanoseconds(duration_s: float) -> int:
    return round(duration_s * 1e9)
