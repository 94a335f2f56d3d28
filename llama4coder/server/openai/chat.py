"""`POST /v1/chat/completions`."""

import time
import uuid

import msgspec
from fastapi import APIRouter
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from llama4coder.server.body import read_model
from llama4coder.server.disconnect import while_connected
from llama4coder.server.endpoint import Endpoint
from llama4coder.server.errors import Refusal
from llama4coder.server.generation import Chunk, Job, Usage, collect
from llama4coder.server.openai.logprobs import chat_logprobs
from llama4coder.server.openai.options import chat_options
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
from llama4coder.server.openai.schemas import ChatMessage, ChatRequest
from llama4coder.server.openai.stream import DONE, error_frames, json_frame
from llama4coder.server.preprocess import Message
from llama4coder.server.sse import EventStream


def chat_router(endpoint: Endpoint) -> APIRouter:
    """The chat route over one endpoint."""
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        body = await read_model(request, ChatRequest)
        writer = ChatWriter(endpoint, body)
        job = await prepare_chat(endpoint, body, writer.id)
        generation = endpoint.generation(job)
        if body.stream:
            return EventStream(generation, ChatFrames(writer, body), endpoint.config.keep_alive_s)
        chunks = await while_connected(request.receive, collect(generation))
        return Response(writer.reply(chunks, generation.usage), media_type="application/json")

    return router


async def prepare_chat(endpoint: Endpoint, body: ChatRequest, request_id: str) -> Job:
    """Check everything, cheap things first, then tokenise."""
    preprocessor = endpoint.preprocessor
    preprocessor.check_model(body.model)
    options = chat_options(body)
    messages = template_messages(body.messages)
    preprocessor.check_num_choices(1, options.num_choices)
    preprocessor.check_size(sum(len(message.content) for message in body.messages), "messages")
    add_generation_prompt = body.add_generation_prompt is not False
    prompt = await preprocessor.chat_prompt(messages, add_generation_prompt=add_generation_prompt)
    return preprocessor.plan(request_id, (prompt,), options, await preprocessor.prediction(options.prediction))


def template_messages(messages: list[ChatMessage]) -> list[Message]:
    """Messages as chat templates know them; OpenAI's `developer` is everyone else's `system`."""
    return [
        {"role": "system" if message.role == "developer" else message.role, "content": message.content}
        | ({} if message.name is None else {"name": message.name})
        for message in messages
    ]


class ChatWriter:
    """Writes one chat's reply, whole or in parts, always under the same id."""

    def __init__(self, endpoint: Endpoint, body: ChatRequest) -> None:
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.model = endpoint.model.name
        self._tokenizer = endpoint.tokenizer
        self._wants_logprobs = bool(body.logprobs)

    def reply(self, chunks: list[Chunk], usage: Usage) -> bytes:
        """The whole reply; one chunk per choice."""
        choices = [
            ChatChoice(chunk.index, ChatReplyMessage(chunk.text), self.logprobs(chunk), str(chunk.finish_reason))
            for chunk in chunks
        ]
        return msgspec.json.encode(ChatReply(self.id, self.created, self.model, choices, usage_reply(usage)))

    def logprobs(self, chunk: Chunk) -> ChatLogprobs | None:
        """A chunk's log-probabilities, if the client wants any."""
        return chat_logprobs(self._tokenizer, chunk.logprobs) if self._wants_logprobs else None


class ChatFrames:
    """A chat as events: per choice its role, its text, its finish reason; then usage, if it was asked for."""

    def __init__(self, writer: ChatWriter, body: ChatRequest) -> None:
        self._writer = writer
        self._include_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        self._begun: set[int] = set()

    def chunk(self, chunk: Chunk) -> bytes:
        frames = b""
        if chunk.index not in self._begun:
            self._begun.add(chunk.index)
            frames += self._frame(ChatChunkChoice(chunk.index, ChatDelta("assistant", "")))
        logprobs = self._writer.logprobs(chunk)
        if chunk.text or (logprobs and logprobs.content):
            frames += self._frame(ChatChunkChoice(chunk.index, ChatDelta(content=chunk.text), logprobs))
        if chunk.finish_reason is not None:
            frames += self._frame(ChatChunkChoice(chunk.index, ChatDelta(), finish_reason=chunk.finish_reason.value))
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
