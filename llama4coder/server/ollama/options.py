"""Ollama's options as the endpoint's `Options`."""

from llama4coder.errors import InvalidRequest
from llama4coder.server.generation import TextOptions
from llama4coder.server.ollama.schemas import GenerationFields, ModelOptions
from llama4coder.server.preprocess import Options
from llama4coder.types import SamplingParams


def generation_options(body: GenerationFields, context_length: int) -> Options:
    """The wishes of a request; `InvalidRequest` if they need a longer context than is served."""
    options = body.options or ModelOptions()
    if options.num_ctx > context_length:
        message = f"'num_ctx' asks for a context of {options.num_ctx} tokens; this deployment serves {context_length}"
        raise InvalidRequest(message, "options.num_ctx")
    return Options(
        sampling=_sampling(options),
        text=TextOptions(stop=tuple(options.stop or ())),
        max_tokens=options.num_predict if options.num_predict > 0 else None,
        clamps_max_tokens=True,
        seed=None if options.seed == -1 else options.seed,
    )


def _sampling(options: ModelOptions) -> SamplingParams:
    """`repeat_penalty` counts the whole context, as with a `repeat_last_n` of -1; with 0 it counts nothing."""
    return SamplingParams(
        temperature=options.temperature,
        top_k=max(0, options.top_k),
        top_p=options.top_p,
        min_p=options.min_p,
        presence_penalty=options.presence_penalty,
        frequency_penalty=options.frequency_penalty,
        repetition_penalty=options.repeat_penalty if options.repeat_last_n else 1.0,
    )
