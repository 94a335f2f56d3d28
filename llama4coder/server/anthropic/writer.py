"""Writes one message's reply, whole or in parts, always under the same id."""

import uuid

import msgspec

from llama4coder.server.anthropic.extras import reasoning_display
from llama4coder.server.anthropic.parts import whole_block
from llama4coder.server.anthropic.replies import (
    Block,
    Ending,
    MessageReply,
    TextBlock,
    UsageReply,
    ending,
    usage_reply,
)
from llama4coder.server.anthropic.schemas import MessageRequest
from llama4coder.server.choice import ChoiceReader, whole_reply
from llama4coder.server.generation import Chunk, Job, Usage


class MessageWriter:
    """Knows the job, whose limit may be below what the request asked for."""

    def __init__(self, model: str, body: MessageRequest, job: Job, request_id: str) -> None:
        self.request_id = request_id
        self._id = f"msg_{uuid.uuid4().hex}"
        self._model = model
        self._was_clamped = job.requests[0].stop.max_tokens < body.max_tokens
        self._num_prompt_tokens = len(job.prompts[0].token_ids)
        self._reply_format = job.text.reply
        self._display = reasoning_display(body)

    def reader(self) -> ChoiceReader:
        """What reads a reply that comes in parts."""
        return ChoiceReader(self._reply_format, self._display)

    def reply(self, chunk: Chunk, usage: Usage) -> bytes:
        """The whole reply; the chunk has everything."""
        reply = whole_reply(self._reply_format, chunk, self._display)
        message = self.message(list(map(whole_block, reply.parts)) or [TextBlock("")], usage_reply(usage))
        end = self.ending(chunk, has_calls=bool(reply.calls))
        whole = msgspec.structs.replace(message, stop_reason=end.stop_reason, stop_sequence=end.stop_sequence)
        return msgspec.json.encode(whole)

    def message(self, content: list[Block], usage: UsageReply) -> MessageReply:
        """A message that has not ended."""
        return MessageReply(self._id, self._model, content, usage)

    def first_usage(self, first: Chunk) -> UsageReply:
        """The usage as far as the first chunk tells it."""
        cached = first.num_cached_tokens
        return UsageReply(self._num_prompt_tokens - cached, len(first.token_ids), cached)

    def ending(self, last: Chunk, *, has_calls: bool) -> Ending:
        """Why the message ended with `last`."""
        return ending(last, has_calls=has_calls, was_clamped=self._was_clamped)
