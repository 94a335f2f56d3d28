"""`POST /v1/chat/completions`."""

import time
import uuid

import msgspec
from fastapi import APIRouter
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from llama4coder.server.body import JsonBody
from llama4coder.server.disconnect import while_connected
from llama4coder.server.endpoint import Endpoint
from llama4coder.server.errors import Refusal
from llama4coder.server.generation import Chunk, Job, Usage, collect
from llama4coder.server.openai.logprobs import chat_logprobs
from llama4coder.server.openai.messages import chat_extras, template_messages
from llama4coder.server.openai.options import chat_options
from llama4coder.server.openai.parsed import ParsedChoice, parsed_message, reason_of
from llama4coder.server.openai.replies import (
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatDelta,
    ChatLogprobs,
    ChatReply,
    ChatReplyMessage,
    usage_reply,
)
from llama4coder.server.openai.schemas import ChatRequest
from llama4coder.server.openai.stream import DONE, error_frames, json_frame
from llama4coder.server.reply.reply import ReplyFormat
from llama4coder.server.sse import EventStream


def chat_router(endpoint: Endpoint) -> APIRouter:
    """The chat route over one endpoint."""
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def chat(request: Request, body: JsonBody[ChatRequest]) -> Response:
        writer = ChatWriter(endpoint, body)
        job = await prepare_chat(endpoint, body, writer.id)
        generation = endpoint.generation(job)
        if body.stream:
            return EventStream(generation, ChatFrames(writer, body, job.text.reply), endpoint.config.keep_alive_s)
        chunks = await while_connected(request.receive, collect(generation))
        return Response(writer.reply(chunks, generation.usage, job.text.reply), media_type="application/json")

    return router


async def prepare_chat(endpoint: Endpoint, body: ChatRequest, request_id: str) -> Job:
    """Check everything, cheap things first, then tokenise."""
    preprocessor = endpoint.preprocessor
    preprocessor.check_model(body.model)
    options, extras = chat_options(body), chat_extras(body)
    preprocessor.check_num_choices(1, options.num_choices)
    prompt = await preprocessor.chat_prompt(template_messages(body.messages), extras)
    options = await preprocessor.for_chat(options, extras, prompt)
    prediction = await preprocessor.prediction(options.prediction)
    return preprocessor.plan(request_id, (prompt,), options, prediction)


class ChatWriter:
    """Writes one chat's reply, whole or in parts, always under the same id."""

    def __init__(self, endpoint: Endpoint, body: ChatRequest) -> None:
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.model = endpoint.model.name
        self._tokenizer = endpoint.tokenizer
        self._wants_logprobs = bool(body.logprobs)

    def reply(self, chunks: list[Chunk], usage: Usage, reply_format: ReplyFormat | None) -> bytes:
        """The whole reply; one chunk per choice."""
        choices = [self._choice(chunk, reply_format) for chunk in chunks]
        return msgspec.json.encode(ChatReply(self.id, self.created, self.model, choices, usage_reply(usage)))

    def _choice(self, chunk: Chunk, reply_format: ReplyFormat | None) -> ChatChoice:
        message = ChatReplyMessage(chunk.text) if reply_format is None else parsed_message(reply_format, chunk)
        reason = reason_of(chunk, has_calls=message.tool_calls is not UNSET)
        return ChatChoice(chunk.index, message, self.logprobs(chunk), reason)

    def logprobs(self, chunk: Chunk) -> ChatLogprobs | None:
        """A chunk's log-probabilities, if the client wants any."""
        return chat_logprobs(self._tokenizer, chunk.logprobs) if self._wants_logprobs else None


class ChatFrames:
    """A chat as events: per choice its role, what it says, its finish reason; then usage, if it was asked for."""

    def __init__(self, writer: ChatWriter, body: ChatRequest, reply_format: ReplyFormat | None) -> None:
        self._writer = writer
        self._include_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        self._reply_format = reply_format
        self._begun: set[int] = set()
        self._parsed: dict[int, ParsedChoice] = {}

    def chunk(self, chunk: Chunk) -> bytes:
        frames = b""
        if chunk.index not in self._begun:
            frames += self._begin(chunk.index)
        logprobs = self._writer.logprobs(chunk)
        if self._reply_format is not None:
            frames += self._parsed_frames(chunk, logprobs)
        elif chunk.text or (logprobs and logprobs.content):
            frames += self._frame(ChatChunkChoice(chunk.index, ChatDelta(content=chunk.text), logprobs))
        if chunk.finish_reason is not None:
            parsed = self._parsed.get(chunk.index)
            reason = reason_of(chunk, has_calls=parsed is not None and parsed.has_calls)
            frames += self._frame(ChatChunkChoice(chunk.index, ChatDelta(), finish_reason=reason))
        return frames

    def _begin(self, index: int) -> bytes:
        self._begun.add(index)
        if self._reply_format is not None:
            self._parsed[index] = ParsedChoice(self._reply_format)
        return self._frame(ChatChunkChoice(index, ChatDelta("assistant", "")))

    def _parsed_frames(self, chunk: Chunk, logprobs: ChatLogprobs | None) -> bytes:
        """What is certain so far; a chunk's log-probabilities come at once, also those of text that is held back."""
        deltas = self._parsed[chunk.index].deltas(chunk)
        if not deltas and logprobs and logprobs.content:
            deltas = [ChatDelta(content="")]
        frames = b""
        for delta in deltas:
            frames += self._frame(ChatChunkChoice(chunk.index, delta, logprobs))
            logprobs = None
        return frames

    def end(self, usage: Usage) -> bytes:
        if not self._include_usage:
            return DONE
        writer = self._writer
        return json_frame(ChatChunk(writer.id, writer.created, writer.model, [], usage_reply(usage))) + DONE

    def error(self, refusal: Refusal) -> bytes:
        return error_frames(refusal)

    def _frame(self, choice: ChatChunkChoice) -> bytes:
        usage = None if self._include_usage else UNSET
        writer = self._writer
        return json_frame(ChatChunk(writer.id, writer.created, writer.model, [choice], usage))
