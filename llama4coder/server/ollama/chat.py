"""`POST /api/chat`."""

import uuid
from collections.abc import Sequence

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llama4coder.server.body import JsonBody
from llama4coder.server.disconnect import while_connected
from llama4coder.server.endpoint import Endpoint
from llama4coder.server.generation import Job, collect
from llama4coder.server.ollama.extras import chat_extras, check_think, reasoning_display
from llama4coder.server.ollama.messages import template_messages
from llama4coder.server.ollama.options import generation_options
from llama4coder.server.ollama.schemas import ChatMessage, ChatRequest
from llama4coder.server.ollama.stream import JsonLines
from llama4coder.server.ollama.writer import ChatWriter
from llama4coder.server.sse import JSON_LINES, EventStream


def chat_router(endpoint: Endpoint) -> APIRouter:
    """The chat route over one endpoint."""
    router = APIRouter()

    @router.post("/api/chat")
    async def chat(request: Request, body: JsonBody[ChatRequest]) -> Response:
        endpoint.preprocessor.check_model(body.model)
        if not body.messages:
            return Response(ChatWriter(body.model).loaded(), media_type="application/json")
        job = await prepare_chat(endpoint, body, body.messages)
        generation = endpoint.generation(job)
        writer = ChatWriter(body.model, job.text.reply, reasoning_display(body))
        if body.streams:
            return EventStream(generation, JsonLines(writer), endpoint.config.keep_alive_s, JSON_LINES)
        (chunk,) = await while_connected(request.receive, collect(generation))
        return Response(writer.whole(chunk, generation.usage), media_type="application/json")

    return router


async def prepare_chat(endpoint: Endpoint, body: ChatRequest, turns: Sequence[ChatMessage]) -> Job:
    """Check everything, cheap things first, then tokenise; an assistant's turn at the end begins the answer."""
    preprocessor = endpoint.preprocessor
    options = generation_options(body, endpoint.model.context_length)
    check_think(preprocessor, body)
    messages, extras = template_messages(turns), chat_extras(body)
    prompt = await preprocessor.chat_prompt(messages, extras)
    options = await preprocessor.for_chat(options, extras, prompt)
    return preprocessor.plan(f"ollama-{uuid.uuid4().hex}", (prompt,), options)
