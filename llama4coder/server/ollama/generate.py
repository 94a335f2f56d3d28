"""`POST /api/generate`: a single turn, a raw prompt, or a hole."""

import uuid

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llama4coder.errors import InvalidRequest
from llama4coder.server.body import JsonBody
from llama4coder.server.disconnect import while_connected
from llama4coder.server.endpoint import Endpoint
from llama4coder.server.fim_cut import cut_chunk
from llama4coder.server.generation import Job, Prompt, collect
from llama4coder.server.ollama.extras import check_think, generation_extras, reasoning_display
from llama4coder.server.ollama.options import generation_options
from llama4coder.server.ollama.schemas import GenerateRequest
from llama4coder.server.ollama.stream import JsonLines
from llama4coder.server.ollama.writer import CompletionWriter
from llama4coder.server.preprocess import Preprocessor
from llama4coder.server.sse import JSON_LINES, EventStream


def generate_router(endpoint: Endpoint) -> APIRouter:
    """The route over one endpoint."""
    router = APIRouter()

    @router.post("/api/generate")
    async def generate(request: Request, body: JsonBody[GenerateRequest]) -> Response:
        endpoint.preprocessor.check_model(body.model)
        if not body.prompt and not body.suffix:
            return Response(CompletionWriter(body.model).loaded(), media_type="application/json")
        language = body.cut_language(streams=body.streams)
        job = await prepare_completion(endpoint, body)
        generation = endpoint.generation(job)
        writer = CompletionWriter(body.model, job.text.reply, reasoning_display(body))
        if body.streams:
            return EventStream(generation, JsonLines(writer), endpoint.config.keep_alive_s, JSON_LINES)
        (chunk,) = await while_connected(request.receive, collect(generation))
        chunk = await cut_chunk(chunk, body.hole(body.prompt or "", body.suffix or ""), language)
        return Response(writer.whole(chunk, generation.usage), media_type="application/json")

    return router


async def prepare_completion(endpoint: Endpoint, body: GenerateRequest) -> Job:
    """Check everything, cheap things first, then tokenise."""
    preprocessor = endpoint.preprocessor
    options = generation_options(body, endpoint.model.context_length)
    for name in ("system", "think"):
        if getattr(body, name) and (body.raw or body.suffix):
            raise InvalidRequest(f"'{name}' does not go together with 'raw' or 'suffix'", name)
    if body.format and body.suffix:
        raise InvalidRequest("'format' does not go together with 'suffix'", "format")
    check_think(preprocessor, body)
    if body.suffix:
        # `num_predict` is a bound, often a large one; making room for all of it would leave the hole without a file.
        prompt = await preprocessor.fim_prompt(body.hole(body.prompt or "", body.suffix), None)
        options = preprocessor.with_fim_ends(options)
    else:
        body.refuse_without_hole()
        prompt = await _to_prompt(preprocessor, body, body.prompt or "")
        extras = generation_extras(body)
        if body.is_chat(knows_chats=preprocessor.knows_chats):
            options = await preprocessor.for_chat(options, extras, prompt)
        else:
            options = await preprocessor.for_format(options, extras.answer_format, extras.format_field)
    return preprocessor.plan(f"ollama-{uuid.uuid4().hex}", (prompt,), options)


async def _to_prompt(preprocessor: Preprocessor, body: GenerateRequest, text: str) -> Prompt:
    preprocessor.check_size(len(text) + len(body.system or ""), "prompt")
    if not body.is_chat(knows_chats=preprocessor.knows_chats):
        return await preprocessor.text_prompt(text)
    system = [{"role": "system", "content": body.system}] if body.system else []
    return await preprocessor.chat_prompt([*system, {"role": "user", "content": text}], generation_extras(body))
