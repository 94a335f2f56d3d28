"""`POST /v1/messages` and `POST /v1/messages/count_tokens`."""

import uuid

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llama4coder.server.anthropic.extras import chat_extras
from llama4coder.server.anthropic.prompt import to_prompt
from llama4coder.server.anthropic.replies import TokenCount
from llama4coder.server.anthropic.schemas import CountRequest, MessageRequest
from llama4coder.server.anthropic.stream import ANTHROPIC_SSE, MessageFrames
from llama4coder.server.anthropic.writer import MessageWriter
from llama4coder.server.body import JsonBody
from llama4coder.server.disconnect import while_connected
from llama4coder.server.endpoint import Endpoint
from llama4coder.server.generation import Job, TextOptions, collect
from llama4coder.server.preprocess import Options
from llama4coder.server.sse import EventStream
from llama4coder.types import SamplingParams


def messages_router(endpoint: Endpoint) -> APIRouter:
    """The messages routes over one endpoint."""
    router = APIRouter()

    @router.post("/v1/messages")
    async def create_message(request: Request, body: JsonBody[MessageRequest]) -> Response:
        job = await prepare_message(endpoint, body)
        writer = MessageWriter(endpoint.model.name, body, job, request.state.request_id)
        generation = endpoint.generation(job)
        if body.stream:
            return EventStream(generation, MessageFrames(writer), endpoint.config.keep_alive_s, ANTHROPIC_SSE)
        (chunk,) = await while_connected(request.receive, collect(generation))
        return Response(writer.reply(chunk, generation.usage), media_type="application/json")

    @router.post("/v1/messages/count_tokens")
    async def count_tokens(body: JsonBody[CountRequest]) -> Response:
        endpoint.preprocessor.check_model(body.model)
        prompt = await to_prompt(endpoint.preprocessor, body, chat_extras(body))
        return Response(msgspec.json.encode(TokenCount(len(prompt.token_ids))), media_type="application/json")

    return router


async def prepare_message(endpoint: Endpoint, body: MessageRequest) -> Job:
    """Check everything, cheap things first, then tokenise."""
    preprocessor = endpoint.preprocessor
    preprocessor.check_model(body.model)
    extras = chat_extras(body)
    prompt = await to_prompt(preprocessor, body, extras)
    options = await preprocessor.for_chat(_options(body), extras, prompt)
    return preprocessor.plan(f"msg-{uuid.uuid4().hex}", (prompt,), options)


def _options(body: MessageRequest) -> Options:
    """`max_tokens` is required, so that many clients name the most that some model can; what fits has to do."""
    return Options(
        sampling=SamplingParams(
            temperature=1.0 if body.temperature is None else body.temperature,
            top_k=body.top_k or 0,
            top_p=1.0 if body.top_p is None else body.top_p,
        ),
        text=TextOptions(stop=tuple(body.stop_sequences or ())),
        max_tokens=body.max_tokens,
        clamps_max_tokens=True,
    )
