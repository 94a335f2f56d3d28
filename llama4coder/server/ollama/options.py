"""Ollama's options as the endpoint's `Options`."""

from llama4coder.errors import InvalidRequest
from llama4coder.server.generation import TextOptions
from llama4coder.server.ollama.schemas import GenerationFields, ModelOptions
from llama4coder.server.preprocess import Options
from llama4coder.types import SamplingParams


def generation_options(body: GenerationFields, context_length: int) -> Options:
    """The wishes of a request; `InvalidRequest` if they need a longer context than is served."""
    options = body.options or ModelOptions()
    num_ctx = options.num_ctx or 0
    if num_ctx > context_length:
        message = f"'num_ctx' asks for a context of {num_ctx} tokens; this deployment serves {context_length}"
        raise InvalidRequest(message, "options.num_ctx")
    num_predict = options.num_predict or 0
    return Options(
        sampling=_sampling(options),
        text=TextOptions(stop=tuple(options.stop or ())),
        max_tokens=num_predict if num_predict > 0 else None,
        clamps_max_tokens=True,
        seed=None if options.seed == -1 else options.seed,
    )


def _sampling(options: ModelOptions) -> SamplingParams:
    """`repeat_penalty` counts the whole context, as `repeat_last_n` of -1 does; with 0 it counts nothing."""
    repeat_penalty = 1.0 if options.repeat_last_n == 0 else options.repeat_penalty
    return SamplingParams(
        temperature=_number(options.temperature, 0.8),
        top_k=40 if options.top_k is None else max(0, options.top_k),
        top_p=_number(options.top_p, 0.9),
        min_p=_number(options.min_p, 0.0),
        presence_penalty=_number(options.presence_penalty, 0.0),
        frequency_penalty=_number(options.frequency_penalty, 0.0),
        repetition_penalty=_number(repeat_penalty, 1.0),
    )


def _number(value: float | None, default: float) -> float:
    return default if value is None else value
