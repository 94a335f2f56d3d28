"""Replies that hold more than content, in OpenAI's words."""

from msgspec import UNSET

from llama4coder.server.choice import ChoiceReader, whole_reply
from llama4coder.server.generation import Chunk
from llama4coder.server.openai.replies import ChatDelta, ChatReplyMessage, FunctionReply, ToolCallReply
from llama4coder.server.reply.events import Content, Event, Reasoning, ToolCall
from llama4coder.server.reply.reply import ReplyFormat
from llama4coder.server.tools import new_call_id
from llama4coder.types import FinishReason

_CALLS = "tool_calls"


def parsed_message(reply_format: ReplyFormat, chunk: Chunk) -> ChatReplyMessage:
    """A whole reply; content is null where there is only something else."""
    reply = whole_reply(reply_format, chunk)
    calls = list(map(_call, reply.calls))
    return ChatReplyMessage(
        content=reply.content or (None if calls or reply.reasoning else ""),
        reasoning_content=reply.reasoning or UNSET,
        tool_calls=calls or UNSET,
    )


def reason_of(chunk: Chunk, *, has_calls: bool) -> str:
    """Why a choice ended; a reply that was cut off says so, whatever calls it holds."""
    return _CALLS if has_calls and chunk.finish_reason is FinishReason.STOP else str(chunk.finish_reason)


class ParsedChoice:
    """One choice of a stream."""

    def __init__(self, reply_format: ReplyFormat) -> None:
        self._reader = ChoiceReader(reply_format)
        self._num_told = 0  # of its calls

    @property
    def has_calls(self) -> bool:
        """Whether it has called a tool so far."""
        return self._reader.num_calls > 0

    def deltas(self, chunk: Chunk) -> list[ChatDelta]:
        """What a chunk adds to the message; a call is one delta, whole."""
        return [self._delta(event) for event in self._reader.read(chunk)]

    def _delta(self, event: Event) -> ChatDelta:
        if isinstance(event, Content):
            return ChatDelta(content=event.text)
        if isinstance(event, Reasoning):
            return ChatDelta(reasoning_content=event.text)
        call = _call(event)
        call.index = self._num_told
        self._num_told += 1
        return ChatDelta(tool_calls=[call])


def _call(event: ToolCall) -> ToolCallReply:
    return ToolCallReply(new_call_id(), FunctionReply(event.name, event.arguments))
