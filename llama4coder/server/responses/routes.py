"""`POST /v1/responses` and what belongs to it."""

import uuid

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llama4coder.errors import NotKept, UnsupportedOption
from llama4coder.server.body import JsonBody
from llama4coder.server.disconnect import while_connected
from llama4coder.server.endpoint import Endpoint
from llama4coder.server.generation import Generation, Job
from llama4coder.server.responses.offers import Offers, offers_of
from llama4coder.server.responses.options import response_options
from llama4coder.server.responses.prompt import chat_extras, fields_of_responses, to_prompt
from llama4coder.server.responses.replies import InputTokens, ResponseReply
from llama4coder.server.responses.schemas import InputRequest, ResponseRequest
from llama4coder.server.responses.stream import ResponseFrames
from llama4coder.server.responses.writer import ResponseWriter
from llama4coder.server.sse import EventStream
from llama4coder.types import FinishReason

_ONE = "/v1/responses/{response_id}"


def responses_router(endpoint: Endpoint) -> APIRouter:
    """The responses routes over one endpoint."""
    router = APIRouter()

    @router.post("/v1/responses")
    async def create_response(request: Request, body: JsonBody[ResponseRequest]) -> Response:
        offers = offers_of(body)
        with fields_of_responses():
            job = await prepare_response(endpoint, body, offers)
        writer = ResponseWriter(endpoint, body, offers, job)
        generation = endpoint.generation(job)
        if body.stream:
            return EventStream(generation, ResponseFrames(writer), endpoint.config.keep_alive_s)
        reply = await while_connected(request.receive, whole_response(generation, writer))
        return _json(reply)

    @router.post("/v1/responses/input_tokens")
    async def count_tokens(body: JsonBody[InputRequest]) -> Response:
        endpoint.preprocessor.check_model(body.model)
        with fields_of_responses():
            prompt = await to_prompt(endpoint.preprocessor, body, chat_extras(body, offers_of(body)))
        return _json(InputTokens(len(prompt.token_ids)))

    @router.get(_ONE)
    @router.delete(_ONE)
    @router.post(f"{_ONE}/cancel")
    @router.get(f"{_ONE}/input_items")
    async def look_up(response_id: str) -> Response:
        raise NotKept("there is no such response: none is kept here, so that none can be looked up, ended or deleted")

    return router


async def prepare_response(endpoint: Endpoint, body: ResponseRequest, offers: Offers) -> Job:
    """Check everything, cheap things first, then tokenise."""
    preprocessor = endpoint.preprocessor
    preprocessor.check_model(body.model)
    extras = chat_extras(body, offers)
    prompt = await to_prompt(preprocessor, body, extras)
    options = await preprocessor.for_chat(response_options(body), extras, prompt)
    if body.num_logprobs is not None and options.text.reply is not None:
        raise UnsupportedOption("log-probabilities go with text alone: not with tools, nor with reasoning", "logprobs")
    return preprocessor.plan(f"response-{uuid.uuid4().hex}", (prompt,), options)


async def whole_response(generation: Generation, writer: ResponseWriter) -> ResponseReply:
    """Run to the end. Raises what `Generation.next_chunks` raises."""
    reason = FinishReason.STOP
    async with generation:
        while not generation.ended:
            for chunk in await generation.next_chunks():
                writer.output.push(chunk)
                reason = chunk.finish_reason or reason
    return writer.ended(reason, generation.usage)


def _json(reply: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(reply), media_type="application/json")
