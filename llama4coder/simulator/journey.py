"""One request from its arrival to its end, over as many replicas as it takes."""

from dataclasses import dataclass, field

from llama4coder.router.continuation import Continuation
from llama4coder.simulator.arrivals import STOP_TOKEN, Arrival
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions, TokenEvent

_STOP = frozenset({STOP_TOKEN})
_SAMPLING = SamplingParams()


def request_of(arrival: Arrival, context_length: int) -> GenerateRequest:
    """What its client asks for, which leaves `max_tokens` at all that fits."""
    prompt = arrival.prompt_token_ids()
    stop = StopConditions(max(1, context_length - len(prompt)), stop_token_ids=_STOP)
    return GenerateRequest(str(arrival.number), prompt, _SAMPLING, stop, seed=arrival.number, priority=arrival.priority)


@dataclass(slots=True)
class Journey:
    """Where it is, and what its client has got."""

    arrival: Arrival
    ingress: int  # by which it has come
    continuation: Continuation
    replica: str | None = None
    attempt_id: str = ""
    num_output: int = 0
    num_cached: int = 0
    first_s: float | None = None  # when its first token came
    last_s: float = 0.0  # and its last one so far
    num_lost: int = 0  # replicas under it
    avoid: frozenset[str] = field(default_factory=frozenset)

    def next_request(self) -> GenerateRequest:
        """See `Continuation.next_request`."""
        request = self.continuation.next_request()
        self.attempt_id = request.request_id
        return request

    def take(self, event: TokenEvent, now_s: float) -> None:
        """Tokens have come."""
        seen = self.continuation.take(event, now_s)
        if self.first_s is None:
            self.first_s = now_s
            self.num_cached = seen.num_cached_tokens
        self.num_output += len(seen.token_ids)
        self.last_s = now_s
