"""`POST /infill`, as llama.vim and llama.vscode call it."""

import uuid

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llama4coder.errors import UnsupportedOption
from llama4coder.server.body import JsonBody
from llama4coder.server.disconnect import while_connected
from llama4coder.server.endpoint import Endpoint
from llama4coder.server.error_bodies import llama_cpp_error
from llama4coder.server.errors import Refusal
from llama4coder.server.fim_cut import cut_chunk
from llama4coder.server.generation import Chunk, Job, Usage, collect
from llama4coder.server.llama_cpp.options import infill_options
from llama4coder.server.llama_cpp.replies import InfillChunk, InfillReply, selected, stop_type, timings
from llama4coder.server.llama_cpp.schemas import InfillRequest
from llama4coder.server.sse import EventStream, data_frame


def infill_router(endpoint: Endpoint) -> APIRouter:
    """The infill route over one endpoint."""
    router = APIRouter()

    @router.post("/infill")
    async def infill(request: Request, body: JsonBody[InfillRequest]) -> Response:
        language = _cut_language(body)
        job = await prepare_infill(endpoint, body)
        writer = InfillWriter(endpoint.model.name, body, job)
        generation = endpoint.generation(job)
        if body.stream:
            return EventStream(generation, InfillFrames(writer), endpoint.config.keep_alive_s)
        (chunk,) = await while_connected(request.receive, collect(generation))
        chunk = await cut_chunk(chunk, body.hole(body.input_prefix, body.input_suffix, body.prompt), language)
        return Response(writer.whole(chunk, generation.usage), media_type="application/json")

    return router


async def prepare_infill(endpoint: Endpoint, body: InfillRequest) -> Job:
    """Check everything, cheap things first, then tokenise."""
    preprocessor = endpoint.preprocessor
    if body.model:
        preprocessor.check_model(body.model)
    options = preprocessor.with_fim_ends(infill_options(body))
    hole = body.hole(body.input_prefix, body.input_suffix, body.prompt)
    prompt = await preprocessor.fim_prompt(hole, options.max_tokens, "input_prefix")
    return preprocessor.plan(f"infill-{uuid.uuid4().hex}", (prompt,), options)


def _cut_language(body: InfillRequest) -> str | None:
    if body.cut is not None and body.return_tokens:
        raise UnsupportedOption("'cut' shortens the text alone, and does not go together with 'return_tokens'", "cut")
    return body.cut_language(streams=body.stream)


class InfillWriter:
    """Writes one infill's reply, whole or in parts."""

    def __init__(self, model: str, body: InfillRequest, job: Job) -> None:
        self._model = model
        self._body = body
        (self._prompt,) = job.prompts

    def part(self, chunk: Chunk, num_predicted: int) -> bytes:
        """A chunk on its way, with the number of tokens so far."""
        part = InfillChunk(chunk.text, chunk.token_ids, num_predicted, len(self._prompt.token_ids))
        return msgspec.json.encode(part)

    def whole(self, chunk: Chunk, usage: Usage) -> bytes:
        """The reply to a request without a stream; the chunk has everything."""
        tokens = chunk.token_ids if self._body.return_tokens else ()
        ending = self._ending(chunk, usage, "\n" in chunk.text)
        return self._encode(msgspec.structs.replace(ending, content=chunk.text, tokens=tokens))

    def end(self, last: Chunk, usage: Usage, has_new_line: bool) -> bytes:
        """What follows a stream's last chunk."""
        return self._encode(self._ending(last, usage, has_new_line))

    def _ending(self, last: Chunk, usage: Usage, has_new_line: bool) -> InfillReply:
        return InfillReply(
            content="",
            tokens=(),
            model=self._model,
            tokens_predicted=usage.num_output_tokens,
            tokens_evaluated=usage.num_prompt_tokens,
            has_new_line=has_new_line,
            truncated=self._prompt.was_cut,
            stop_type=stop_type(last),
            stopping_word=last.stop_string or "",
            tokens_cached=usage.num_cached_tokens,
            timings=timings(usage),
        )

    def _encode(self, reply: InfillReply) -> bytes:
        fields = self._body.response_fields
        return msgspec.json.encode(selected(reply, fields) if fields else reply)


class InfillFrames:
    """An infill as events; unlike OpenAI's they end without a mark, since the last one says `stop`."""

    def __init__(self, writer: InfillWriter) -> None:
        self._writer = writer
        self._num_tokens = 0
        self._has_new_line = False
        self._last: Chunk | None = None

    def chunk(self, chunk: Chunk) -> bytes:
        self._num_tokens += len(chunk.token_ids)
        self._has_new_line = self._has_new_line or "\n" in chunk.text
        self._last = chunk
        return data_frame(self._writer.part(chunk, self._num_tokens)) if chunk.token_ids or chunk.text else b""

    def end(self, usage: Usage) -> bytes:
        assert self._last is not None
        return data_frame(self._writer.end(self._last, usage, self._has_new_line))

    def error(self, refusal: Refusal) -> bytes:
        return data_frame(llama_cpp_error(refusal))
