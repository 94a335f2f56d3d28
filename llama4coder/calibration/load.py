"""A load for a running endpoint, and the same requests for the simulator."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from llama4coder.errors import ConfigError
from llama4coder.simulator.arrivals import Arrival, Contents, Part

_SPREAD = 0.5  # lengths are even between half as much less and half as much more


@dataclass(frozen=True, slots=True)
class Load:
    """Requests that come by chance (Poisson), whatever becomes of those before."""

    rate_per_s: float
    duration_s: float
    prompt_tokens: int  # on average
    output_tokens: int  # on average
    shared_prefix: float = 0.0  # share of each prompt that others begin with
    num_prefixes: int = 3
    seed: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class PlannedRequest:
    """One of them; prefixes are numbered."""

    at_s: float
    prompt_token_ids: tuple[int, ...]
    num_output: int
    prefix: int
    num_prefix: int  # tokens of the prompt


@dataclass(frozen=True, slots=True)
class TimedRequest:
    """What became of one, in seconds since the first could be sent."""

    request: PlannedRequest
    sent_s: float
    first_s: float
    last_s: float


Run = Sequence[TimedRequest]
"""Requests to an endpoint that had nothing to do before the first, and has nothing after the last."""


@dataclass(frozen=True, slots=True)
class LoadTimes:
    """Of a whole load."""

    num_requests: int
    ttft_s: float  # mean
    ttft_p50_s: float
    itl_s: float  # mean of all gaps
    tokens_per_s: float  # of output, from the first request of a run to its last token


def plan_requests(load: Load, vocab_size: int) -> list[PlannedRequest]:
    """The requests of a load; equal loads have equal ones.

    Raises:
        ConfigError: none comes in that time.
    """
    numbers = Random(load.seed)
    low = min(1000, vocab_size // 2)  # beyond special tokens and bytes, where the vocabulary is large enough

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(numbers.randrange(low, vocab_size) for _ in range(count))

    def spread(mean: int) -> int:
        return max(1, round(mean * numbers.uniform(1 - _SPREAD, 1 + _SPREAD)))

    prefixes = [tokens(round(2 * load.prompt_tokens * load.shared_prefix)) for _ in range(load.num_prefixes)]
    requests, at_s = [], numbers.expovariate(load.rate_per_s)
    while at_s < load.duration_s:
        num_prompt, prefix = spread(load.prompt_tokens), numbers.randrange(load.num_prefixes)
        shared = prefixes[prefix][: round(num_prompt * load.shared_prefix)]
        prompt = shared + tokens(num_prompt - len(shared))
        requests.append(PlannedRequest(at_s, prompt, spread(load.output_tokens), prefix, len(shared)))
        at_s += numbers.expovariate(load.rate_per_s)
    if not requests:
        raise ConfigError("no request comes in that time: raise --rate or --seconds")
    return requests


def arrivals_of(timed: Iterable[TimedRequest]) -> list[Arrival]:
    """The same requests for the simulator, at the times when they were sent."""
    contents = Contents()
    prefixes: dict[int, Part] = {}
    arrivals = []
    for number, one in enumerate(sorted(timed, key=lambda each: each.sent_s)):
        request = one.request
        if request.prefix not in prefixes:
            prefixes[request.prefix] = contents.new(0)
        shared = Part(prefixes[request.prefix].token_id, request.num_prefix)
        fresh = contents.new(len(request.prompt_token_ids) - request.num_prefix)
        prompt = tuple(part for part in (shared, fresh) if part.num_tokens)
        arrivals.append(Arrival(number, one.sent_s, prompt, contents.new(request.num_output)))
    return arrivals


def times_of(runs: Sequence[Run]) -> LoadTimes:
    """Of all requests of these runs."""
    timed = [one for run in runs for one in run]
    first_s = sorted(one.first_s - one.sent_s for one in timed)
    num_gaps = sum(one.request.num_output - 1 for one in timed)
    return LoadTimes(
        num_requests=len(timed),
        ttft_s=sum(first_s) / len(first_s),
        ttft_p50_s=first_s[len(first_s) // 2],
        itl_s=sum(one.last_s - one.first_s for one in timed) / max(1, num_gaps),
        tokens_per_s=sum(one.request.num_output for one in timed) / sum(_span_s(run) for run in runs),
    )


def _span_s(run: Run) -> float:
    return max(one.last_s for one in run) - min(one.sent_s for one in run)
