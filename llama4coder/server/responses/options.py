"""A response's fields as the endpoint's `Options`."""

from llama4coder.server.generation import TextOptions
from llama4coder.server.openai.options import tier_priority
from llama4coder.server.preprocess import Options
from llama4coder.server.responses.schemas import ResponseRequest
from llama4coder.types import Priority, SamplingParams


def response_options(body: ResponseRequest) -> Options:
    """The wishes of a response."""
    return Options(
        sampling=SamplingParams(
            temperature=1.0 if body.temperature is None else body.temperature,
            top_p=1.0 if body.top_p is None else body.top_p,
            num_logprobs=body.num_logprobs,
        ),
        text=TextOptions(),
        max_tokens=body.max_output_tokens,
        seed=body.seed,
        priority=tier_priority(body.service_tier) or Priority.INTERACTIVE,
        cache_salt=body.cache_salt or "",
    )
