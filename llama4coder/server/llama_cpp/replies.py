"""Reply bodies of llama.cpp's dialect.

Slots, settings and the prompt, which llama.cpp tells besides, are left out.
"""

from typing import Literal

import msgspec

from llama4coder.server.generation import Chunk, Usage
from llama4coder.types import FinishReason

StopType = Literal["none", "eos", "limit", "word"]


class Timings(msgspec.Struct):
    """As the endpoint sees them: waiting for admission is part of the prompt's time."""

    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float


class InfillChunk(msgspec.Struct):
    """A part of a streamed answer."""

    content: str
    tokens: tuple[int, ...]
    tokens_predicted: int
    tokens_evaluated: int
    index: int = 0
    stop: Literal[False] = False


class InfillReply(msgspec.Struct):
    """A whole answer, or the end of a streamed one."""

    content: str
    tokens: tuple[int, ...]
    model: str
    tokens_predicted: int
    tokens_evaluated: int
    has_new_line: bool
    truncated: bool
    stop_type: StopType
    stopping_word: str
    tokens_cached: int
    timings: Timings
    index: int = 0
    stop: Literal[True] = True


def stop_type(last: Chunk) -> StopType:
    """Why an answer ended."""
    if last.stop_string is not None:
        return "word"
    return "eos" if last.finish_reason is FinishReason.STOP else "limit"


def timings(usage: Usage) -> Timings:
    """Tokens and times, and what they come to."""
    num_prompt = usage.num_prompt_tokens - usage.num_cached_tokens
    return Timings(
        cache_n=usage.num_cached_tokens,
        prompt_n=num_prompt,
        prompt_ms=usage.prompt_time_s * 1000,
        prompt_per_token_ms=_ratio(usage.prompt_time_s * 1000, num_prompt),
        prompt_per_second=_ratio(num_prompt, usage.prompt_time_s),
        predicted_n=usage.num_output_tokens,
        predicted_ms=usage.output_time_s * 1000,
        predicted_per_token_ms=_ratio(usage.output_time_s * 1000, usage.num_output_tokens),
        predicted_per_second=_ratio(usage.num_output_tokens, usage.output_time_s),
    )


def _ratio(value: float, divisor: float) -> float:
    return value / divisor if divisor else 0.0


def selected(reply: InfillReply, fields: list[str]) -> dict[str, object]:
    """What `response_fields` asks for; a path, such as `timings/prompt_n`, is the name of its value."""
    whole = msgspec.to_builtins(reply)
    found = {path: _at(whole, path.split("/")) for path in fields}
    return {path: value for path, value in found.items() if value is not None}


def _at(value: object, names: list[str]) -> object:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
