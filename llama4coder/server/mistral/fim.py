"""`POST /v1/fim/completions`: a hole in Mistral's dialect, answered like a chat."""

import time
import uuid

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llama4coder.server.body import JsonBody
from llama4coder.server.disconnect import while_connected
from llama4coder.server.endpoint import Endpoint
from llama4coder.server.errors import Refusal
from llama4coder.server.fim_cut import cut_chunk
from llama4coder.server.generation import Chunk, Job, TextOptions, Usage, collect
from llama4coder.server.mistral.schemas import FimRequest
from llama4coder.server.openai.replies import (
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatDelta,
    ChatReply,
    ChatReplyMessage,
    UsageReply,
    usage_reply,
)
from llama4coder.server.openai.stream import DONE, error_frames, json_frame
from llama4coder.server.preprocess import Options
from llama4coder.server.sse import EventStream
from llama4coder.types import SamplingParams

_TEMPERATURE = 0.7  # that of Mistral's client where a request has none


def fim_router(endpoint: Endpoint) -> APIRouter:
    """The FIM route over one endpoint."""
    router = APIRouter()

    @router.post("/v1/fim/completions")
    async def fill(request: Request, body: JsonBody[FimRequest]) -> Response:
        language = body.cut_language(streams=bool(body.stream))
        writer = FimWriter(endpoint.model.name)
        job = await prepare_fim(endpoint, body, writer.id)
        generation = endpoint.generation(job)
        if body.stream:
            return EventStream(generation, FimFrames(writer), endpoint.config.keep_alive_s)
        (chunk,) = await while_connected(request.receive, collect(generation))
        chunk = await cut_chunk(chunk, body.hole(body.prompt, body.suffix or ""), language)
        return Response(writer.reply(chunk, generation.usage), media_type="application/json")

    return router


async def prepare_fim(endpoint: Endpoint, body: FimRequest, request_id: str) -> Job:
    """Check everything, cheap things first, then tokenise."""
    preprocessor = endpoint.preprocessor
    preprocessor.check_model(body.model)
    options = _options(body)
    if body.suffix is None:
        body.refuse_without_hole()
        preprocessor.check_size(len(body.prompt), "prompt")
        return preprocessor.plan(request_id, (await preprocessor.text_prompt(body.prompt),), options)
    prompt = await preprocessor.fim_prompt(body.hole(body.prompt, body.suffix), body.max_tokens)
    return preprocessor.plan(request_id, (prompt,), preprocessor.with_fim_ends(options))


def _options(body: FimRequest) -> Options:
    return Options(
        sampling=SamplingParams(
            temperature=_TEMPERATURE if body.temperature is None else body.temperature,
            top_p=1.0 if body.top_p is None else body.top_p,
        ),
        text=TextOptions(stop=tuple(body.stop or ())),
        max_tokens=body.max_tokens,
        min_tokens=body.min_tokens or 0,
        seed=body.random_seed,
    )


class FimWriter:
    """Writes one answer, whole or in parts, always under the same id."""

    def __init__(self, model: str) -> None:
        self.id = f"fim-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._model = model

    def reply(self, chunk: Chunk, usage: Usage) -> bytes:
        """The whole reply; the chunk has everything."""
        choice = ChatChoice(0, ChatReplyMessage(chunk.text), None, str(chunk.finish_reason))
        return msgspec.json.encode(ChatReply(self.id, self._created, self._model, [choice], usage_reply(usage)))

    def part(self, choice: ChatChunkChoice, usage: UsageReply | msgspec.UnsetType = msgspec.UNSET) -> bytes:
        """A part of it as an event."""
        return json_frame(ChatChunk(self.id, self._created, self._model, [choice], usage))


class FimFrames:
    """An answer as events; the last one has the finish reason and the usage."""

    def __init__(self, writer: FimWriter) -> None:
        self._writer = writer
        self._finish_reason: str | None = None

    def chunk(self, chunk: Chunk) -> bytes:
        if chunk.finish_reason is not None:
            self._finish_reason = chunk.finish_reason.value
        if not chunk.text:
            return b""
        return self._writer.part(ChatChunkChoice(0, ChatDelta("assistant", chunk.text)))

    def end(self, usage: Usage) -> bytes:
        last = ChatChunkChoice(0, ChatDelta("assistant", ""), finish_reason=self._finish_reason)
        return self._writer.part(last, usage_reply(usage)) + DONE

    def error(self, refusal: Refusal) -> bytes:
        return error_frames(refusal)
