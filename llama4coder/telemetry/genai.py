"""A request in the words of OpenTelemetry's conventions for generative AI, as far as they are free of content.

Source: open-telemetry/semantic-conventions-genai, gen-ai-spans.md and gen-ai-metrics.md. Everything is a number, an id
or a word from a closed set; a client's own words (its name for the model, its user, its headers) have no place here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from llama4coder.obs.requests import GenerationRecord, RequestRecord

PROVIDER = "llama4coder"
REQUEST_DURATION, REQUEST_DURATION_BOUNDS_S = (
    "gen_ai.server.request.duration",
    (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
TIME_TO_FIRST_TOKEN, TIME_TO_FIRST_TOKEN_BOUNDS_S = (
    "gen_ai.server.time_to_first_token",
    (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
TIME_PER_OUTPUT_TOKEN, TIME_PER_OUTPUT_TOKEN_BOUNDS_S = (
    "gen_ai.server.time_per_output_token",
    (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
)

Attributes = dict[str, str | int | tuple[str, ...]]

_OK, _FIRST_ERROR_STATUS, _CLIENT_GONE, _FIRST_FAULT_STATUS = 200, 400, 499, 500
_OPERATIONS: Mapping[str, str] = MappingProxyType(
    {
        "chat_completions": "chat",
        "responses": "chat",
        "messages": "chat",
        "ollama_chat": "chat",
        "completions": "text_completion",
        "fim": "text_completion",
        "infill": "text_completion",
        "ollama_generate": "text_completion",
        "embeddings": "embeddings",
    }
)


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened while a request was worked on, on the clock of its record."""

    name: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds; None where there is no such time, as in requests that failed."""

    request_s: float
    first_token_s: float | None
    per_output_token_s: float | None


def operation_of(record: RequestRecord) -> str | None:
    """The convention's name for what was asked; None for what is no inference, such as a list of models."""
    return _OPERATIONS.get(record.api)


def error_type(record: RequestRecord) -> str | None:
    """The kind of our error, or the HTTP status; 499 is a client that left. None if all went well."""
    generation = record.generation
    if generation is not None and generation.failure is not None and record.status != _CLIENT_GONE:
        return generation.failure
    return str(record.status) if record.status >= _FIRST_ERROR_STATUS else None


def is_fault(record: RequestRecord) -> bool:
    """Whether it failed by the server's fault: as HTTP says, or in the midst of an answer."""
    has_failed = record.generation is not None and record.generation.failure is not None
    return record.status >= _FIRST_FAULT_STATUS or (record.status == _OK and has_failed)


def metric_attributes(record: RequestRecord, operation: str) -> Attributes:
    """What the histograms are told apart by."""
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": record.model,
    }


def span_attributes(record: RequestRecord, operation: str) -> Attributes:
    """All that is told of one request."""
    attributes = metric_attributes(record, operation) | {
        "http.response.status_code": record.status,
        "gen_ai.request.stream": record.is_stream,
        "llama4coder.request.id": record.request_id,
        "llama4coder.api": record.api,
        "llama4coder.dialect": record.dialect,
    }
    if (error := error_type(record)) is not None:
        attributes["error.type"] = error
    if record.generation is not None:
        attributes |= _usage(record.generation)
    return attributes


def _usage(generation: GenerationRecord) -> Attributes:
    reasons = tuple(reason.value for reason in generation.finish_reasons)
    return {
        "gen_ai.usage.input_tokens": generation.num_prompt_tokens,
        "gen_ai.usage.cache_read.input_tokens": generation.num_cached_tokens,
        "gen_ai.usage.output_tokens": generation.num_output_tokens,
        **({"gen_ai.response.finish_reasons": reasons} if reasons else {}),
    }


def moments(record: RequestRecord) -> Iterator[Moment]:
    """What the span's events are: its prompt goes to an engine, leaves the queue, and tokens come."""
    generation = record.generation
    if generation is not None:
        yield Moment("llama4coder.submitted", generation.submitted_s)
        for name, at_s in (
            ("llama4coder.admitted", generation.admitted_s),
            ("llama4coder.first_token", generation.first_token_s),
            ("llama4coder.last_token", generation.last_token_s),
        ):
            if at_s is not None:
                yield Moment(name, at_s)


def latencies(record: RequestRecord) -> Latencies:
    """The convention's three; the first token's is that of queue and prefill, from submission."""
    request_s = record.ended_s - record.began_s
    generation = record.generation
    if generation is None or generation.first_token_s is None or error_type(record) is not None:
        return Latencies(request_s, None, None)
    first_token_s = generation.first_token_s - generation.submitted_s
    return Latencies(request_s, first_token_s, _per_output_token_s(generation))


def _per_output_token_s(generation: GenerationRecord) -> float | None:
    """After the first one; sequences of one request come at the same time."""
    num_later = generation.num_output_tokens / generation.num_sequences - 1
    if num_later <= 0 or generation.first_token_s is None or generation.last_token_s is None:
        return None
    return (generation.last_token_s - generation.first_token_s) / num_later
