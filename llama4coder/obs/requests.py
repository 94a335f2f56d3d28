"""What the endpoint tells of a request that has ended: numbers, ids and words from closed sets, never content."""

from dataclasses import dataclass
from typing import Protocol

from llama4coder.types import FinishReason


@dataclass(frozen=True, slots=True)
class GenerationRecord:
    """The sequences of a request; times are of `time.perf_counter`, and None where it did not come so far."""

    submitted_s: float
    admitted_s: float | None  # by the engine's own account of how long it waited
    first_token_s: float | None
    last_token_s: float | None
    num_sequences: int
    num_prompt_tokens: int  # each prompt once, as in the answer's usage
    num_cached_tokens: int
    num_output_tokens: int
    finish_reasons: tuple[FinishReason, ...]  # of the sequences that have finished, in their order
    failure: str | None  # the kind of exception that ended it


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One HTTP request; `api` is that of `llama4coder_requests_total`, `model` the served model's own name."""

    api: str
    dialect: str
    model: str
    request_id: str  # the client's own, if it sent a sane one
    trace_parent: str | None  # a well-formed W3C header
    status: int
    is_stream: bool
    began_unix_s: float
    began_s: float  # of `time.perf_counter`
    ended_s: float
    generation: GenerationRecord | None  # None: it was refused before, or asked for something else


class RequestObserver(Protocol):
    """Called in the event loop of an ingress, once per request; must be quick and must not raise."""

    def on_request(self, record: RequestRecord) -> None: ...
