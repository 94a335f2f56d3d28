"""OpenAI's fields as the endpoint's `Options`."""

from llama4coder.errors import InvalidRequest
from llama4coder.server.generation import TextOptions
from llama4coder.server.openai.schemas import ChatRequest, CompletionRequest, GenerationFields
from llama4coder.server.preprocess import Options
from llama4coder.types import Priority, SamplingParams


def chat_options(body: ChatRequest) -> Options:
    """The wishes of a chat; `InvalidRequest` where two fields contradict each other."""
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequest("'top_logprobs' needs 'logprobs' to be true", "top_logprobs")
    max_tokens = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    return _options(body, max_tokens, num_logprobs=(body.top_logprobs or 0) if body.logprobs else None)


def completion_options(body: CompletionRequest) -> Options:
    """The wishes of a completion; `InvalidRequest` where two fields contradict each other."""
    if body.max_tokens == 0 and not body.echo:
        raise InvalidRequest("'max_tokens' may be 0 only together with 'echo'", "max_tokens")
    num_prompt_logprobs = body.logprobs if body.echo else None
    return _options(body, body.max_tokens, body.logprobs, num_prompt_logprobs)


def _options(
    body: GenerationFields, max_tokens: int | None, num_logprobs: int | None, num_prompt_logprobs: int | None = None
) -> Options:
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("'stream_options' is only allowed together with 'stream'", "stream_options")
    return Options(
        sampling=_sampling(body, num_logprobs, num_prompt_logprobs),
        text=TextOptions(
            stop=tuple(body.stop or ()),
            include_stop=bool(body.include_stop_str_in_output),
            skip_special=body.skip_special_tokens is not False,
        ),
        max_tokens=max_tokens,
        min_tokens=body.min_tokens or 0,
        stop_token_ids=tuple(body.stop_token_ids or ()),
        ignore_eos=bool(body.ignore_eos),
        seed=body.seed,
        num_choices=1 if body.n is None else body.n,
        prediction="" if body.prediction is None else body.prediction.content,
        speculates=body.speculation is not False,
        priority=_priority(body),
        cache_salt=body.cache_salt or "",
        top_blocks=body.top_blocks,
    )


def tier_priority(tier: str | None) -> Priority | None:
    """Ours for OpenAI's tiers, of which `flex` is slow and cheap, `priority` the opposite; None where they leave it."""
    return {"flex": Priority.BATCH, "priority": Priority.INTERACTIVE, "fast": Priority.INTERACTIVE}.get(tier or "auto")


def _priority(body: GenerationFields) -> Priority:
    """Ours by its own name, or by OpenAI's tiers."""
    by_tier = tier_priority(body.service_tier)
    if body.priority is None:
        return by_tier or Priority.INTERACTIVE
    own = Priority(body.priority)
    if by_tier not in (None, own):
        raise InvalidRequest("'priority' and 'service_tier' ask for different things", "service_tier")
    return own


def _sampling(body: GenerationFields, num_logprobs: int | None, num_prompt_logprobs: int | None) -> SamplingParams:
    return SamplingParams(
        temperature=_number(body.temperature, 1.0),
        top_k=max(0, body.top_k or 0),
        top_p=_number(body.top_p, 1.0),
        min_p=_number(body.min_p, 0.0),
        presence_penalty=_number(body.presence_penalty, 0.0),
        frequency_penalty=_number(body.frequency_penalty, 0.0),
        repetition_penalty=_number(body.repetition_penalty, 1.0),
        logit_bias=body.logit_bias or {},
        num_logprobs=num_logprobs,
        num_prompt_logprobs=num_prompt_logprobs,
    )


def _number(value: float | None, default: float) -> float:
    return default if value is None else value
