"""`POST /v1/completions`, with or without a hole."""

import time
import uuid
from collections import defaultdict
from functools import partial

import msgspec
from fastapi import APIRouter
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from llama4coder.errors import InvalidRequest, UnsupportedOption
from llama4coder.server.body import JsonBody
from llama4coder.server.disconnect import while_connected
from llama4coder.server.endpoint import Endpoint
from llama4coder.server.errors import Refusal
from llama4coder.server.fim_cut import cut_chunk
from llama4coder.server.generation import Chunk, Job, Prompt, Usage, collect
from llama4coder.server.openai.format_fields import asked_format
from llama4coder.server.openai.logprobs import CompletionLogprobsWriter
from llama4coder.server.openai.options import completion_options
from llama4coder.server.openai.replies import (
    CompletionChoice,
    CompletionLogprobs,
    CompletionReply,
    UsageReply,
    usage_reply,
)
from llama4coder.server.openai.schemas import CompletionRequest
from llama4coder.server.openai.stream import DONE, error_frames, json_frame
from llama4coder.server.sse import EventStream
from llama4coder.tokenizer.fim import Hole
from llama4coder.tokenizer.tokenizer import Tokenizer


def completions_router(endpoint: Endpoint) -> APIRouter:
    """The completions route over one endpoint, and the name that clients of DeepSeek's call for a `suffix`."""
    router = APIRouter()

    @router.post("/v1/completions")
    @router.post("/beta/completions")
    async def complete(request: Request, body: JsonBody[CompletionRequest]) -> Response:
        request_id = f"cmpl-{uuid.uuid4().hex}"
        language = _cut_language(body)
        job = await prepare_completion(endpoint, body, request_id)
        writer = CompletionWriter(endpoint, body, job, request_id)
        generation = endpoint.generation(job)
        if body.stream:
            return EventStream(generation, CompletionFrames(writer, body), endpoint.config.keep_alive_s)
        chunks = await while_connected(request.receive, collect(generation))
        chunks = [await cut_chunk(chunk, _hole_of(body, job, chunk), language) for chunk in chunks]
        return Response(writer.reply(chunks, generation.usage), media_type="application/json")

    return router


async def prepare_completion(endpoint: Endpoint, body: CompletionRequest, request_id: str) -> Job:
    """Check everything, cheap things first, then tokenise."""
    endpoint.preprocessor.check_model(body.model)
    options = completion_options(body)
    if body.best_of not in (None, options.num_choices):
        raise UnsupportedOption("'best_of' is supported only where it equals 'n'", "best_of")
    endpoint.preprocessor.check_num_choices(len(body.prompt), options.num_choices)
    prompts = [await _to_prompt(endpoint, body, prompt) for prompt in body.prompt]
    if body.suffix is None:
        body.refuse_without_hole()
    else:
        options = endpoint.preprocessor.with_fim_ends(options)
    asked = asked_format(body)
    options = await endpoint.preprocessor.for_format(options, asked.answer_format, asked.field)
    prediction = await endpoint.preprocessor.prediction(options.prediction)
    return endpoint.preprocessor.plan(request_id, prompts, options, prediction)


async def _to_prompt(endpoint: Endpoint, body: CompletionRequest, prompt: str | list[int]) -> Prompt:
    if body.suffix is not None:
        return await _to_hole(endpoint, body, prompt, body.suffix)
    if not isinstance(prompt, str):
        return endpoint.preprocessor.token_prompt(prompt)
    endpoint.preprocessor.check_size(len(prompt), "prompt")
    return await endpoint.preprocessor.text_prompt(prompt, add_bos=body.add_special_tokens is not False)


async def _to_hole(endpoint: Endpoint, body: CompletionRequest, prefix: str | list[int], suffix: str) -> Prompt:
    if not isinstance(prefix, str):
        raise InvalidRequest("with a 'suffix' the prompt must be text, since the server writes the hole", "prompt")
    return await endpoint.preprocessor.fim_prompt(body.hole(prefix, suffix), body.max_tokens)


def _cut_language(body: CompletionRequest) -> str | None:
    if body.cut is not None and body.logprobs is not None:
        raise UnsupportedOption("'cut' shortens the text alone, and does not go together with 'logprobs'", "cut")
    return body.cut_language(streams=bool(body.stream))


def _hole_of(body: CompletionRequest, job: Job, chunk: Chunk) -> Hole:
    return body.hole(job.prompt_of(chunk.index).text or "", body.suffix or "")


class CompletionWriter:
    """Writes one request's completions, whole or in parts, always under the same id.

    With `echo` a choice begins with its prompt, and with the prompt's log-probabilities if any were asked for.
    """

    def __init__(self, endpoint: Endpoint, body: CompletionRequest, job: Job, request_id: str) -> None:
        self._id = request_id
        self._created = int(time.time())
        self._model = endpoint.model.name
        self._tokenizer: Tokenizer = endpoint.tokenizer
        self._job = job
        self._echo = bool(body.echo)
        self._wants_logprobs = body.logprobs is not None
        self._begun: set[int] = set()
        self._logprobs = defaultdict[int, CompletionLogprobsWriter](partial(CompletionLogprobsWriter, self._tokenizer))

    def reply(self, chunks: list[Chunk], usage: Usage) -> bytes:
        """The whole reply; one chunk per choice."""
        return msgspec.json.encode(self.body([self.choice(chunk) for chunk in chunks], usage_reply(usage)))

    def body(self, choices: list[CompletionChoice], usage: UsageReply | msgspec.UnsetType | None) -> CompletionReply:
        """A reply around some choices."""
        return CompletionReply(self._id, self._created, self._model, choices, usage)

    def choice(self, chunk: Chunk) -> CompletionChoice:
        """A chunk, after the prompt if it is the choice's first one."""
        begins = chunk.index not in self._begun
        self._begun.add(chunk.index)
        echoed = self._job.prompt_of(chunk.index) if self._echo and begins else None
        finish_reason = None if chunk.finish_reason is None else chunk.finish_reason.value
        text = chunk.text if echoed is None else self._prompt_text(echoed) + chunk.text
        return CompletionChoice(chunk.index, text, self._choice_logprobs(chunk, echoed), finish_reason)

    def _prompt_text(self, prompt: Prompt) -> str:
        return self._tokenizer.decode(prompt.token_ids, skip_special=False) if prompt.text is None else prompt.text

    def _choice_logprobs(self, chunk: Chunk, echoed: Prompt | None) -> CompletionLogprobs | None:
        if not self._wants_logprobs:
            return None
        if echoed is None:
            return self._logprobs[chunk.index].write(chunk.token_ids, chunk.logprobs)
        token_ids = echoed.token_ids + chunk.token_ids
        return self._logprobs[chunk.index].write(token_ids, chunk.prompt_logprobs + chunk.logprobs)


class CompletionFrames:
    """Completions as events; then usage, if it was asked for."""

    def __init__(self, writer: CompletionWriter, body: CompletionRequest) -> None:
        self._writer = writer
        self._include_usage = body.stream_options is not None and bool(body.stream_options.include_usage)

    def chunk(self, chunk: Chunk) -> bytes:
        choice = self._writer.choice(chunk)
        if not (choice.text or choice.logprobs or choice.finish_reason):
            return b""
        return json_frame(self._writer.body([choice], None if self._include_usage else UNSET))

    def end(self, usage: Usage) -> bytes:
        return json_frame(self._writer.body([], usage_reply(usage))) + DONE if self._include_usage else DONE

    def error(self, refusal: Refusal) -> bytes:
        return error_frames(refusal)
