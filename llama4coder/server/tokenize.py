"""`POST /tokenize` and `POST /detokenize`, in vLLM's shapes."""

import asyncio

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from llama4coder.errors import InvalidRequest
from llama4coder.server.body import JsonBody
from llama4coder.server.chat import ChatExtras
from llama4coder.server.endpoint import Endpoint
from llama4coder.server.generation import Prompt
from llama4coder.server.openai.messages import template_messages
from llama4coder.server.openai.schemas import DetokenizeRequest, TokenizeRequest


class TokenizeReply(msgspec.Struct):
    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizeReply(msgspec.Struct):
    prompt: str


def tokenize_router(endpoint: Endpoint) -> APIRouter:
    """Text to token ids as the endpoint itself does it, and back."""
    router = APIRouter()

    @router.post("/tokenize")
    async def tokenize(body: JsonBody[TokenizeRequest]) -> Response:
        _check_model(endpoint, body.model)
        token_ids = list((await _to_prompt(endpoint, body)).token_ids)
        strings = list(map(endpoint.tokenizer.token_text, token_ids)) if body.return_token_strs else None
        return _json(TokenizeReply(len(token_ids), endpoint.model.context_length, token_ids, strings))

    @router.post("/detokenize")
    async def detokenize(body: JsonBody[DetokenizeRequest]) -> Response:
        _check_model(endpoint, body.model)
        endpoint.preprocessor.check_token_ids(body.tokens, "tokens")
        text = await asyncio.to_thread(endpoint.tokenizer.decode, body.tokens, skip_special=False)
        return _json(DetokenizeReply(text))

    return router


async def _to_prompt(endpoint: Endpoint, body: TokenizeRequest) -> Prompt:
    preprocessor = endpoint.preprocessor
    if body.prompt is not None and body.messages is None:
        return await preprocessor.text_prompt(body.prompt, add_bos=body.add_special_tokens is not False)
    if body.messages is not None and body.prompt is None:
        add_generation_prompt = body.add_generation_prompt is not False
        return await preprocessor.chat_prompt(template_messages(body.messages), ChatExtras(add_generation_prompt))
    raise InvalidRequest("give either 'prompt' or 'messages'", "prompt")


def _check_model(endpoint: Endpoint, name: str | None) -> None:
    if name is not None:
        endpoint.preprocessor.check_model(name)


def _json(reply: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(reply), media_type="application/json")
