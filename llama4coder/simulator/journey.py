"""One request from its arrival to its end, over as many replicas as it takes."""

from dataclasses import dataclass, field

from llama4coder.simulator.arrivals import STOP_TOKEN, Arrival
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions

_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.1, 2.0  # before another attempt, as `cluster.continuation` has them
_STOP = frozenset({STOP_TOKEN})
_SAMPLING = SamplingParams()


@dataclass(slots=True)
class Journey:
    """Where it is, and what its client has got."""

    arrival: Arrival
    ingress: int  # by which it has come
    replica: str | None = None
    attempt_id: str = ""
    num_attempts: int = 0
    num_output: int = 0
    num_cached: int = 0
    first_s: float | None = None  # when its first token came
    last_s: float = 0.0  # and its last one so far
    has_detoured: bool = False
    num_lost: int = 0  # replicas under it
    deadline_s: float | None = None  # to go on elsewhere; None unless it has lost a replica
    avoid: frozenset[str] = field(default_factory=frozenset)
    _pause_s: float = _FIRST_PAUSE_S

    def next_request(self, context_length: int) -> GenerateRequest:
        """What the next replica is asked for, under an id of its own; clients leave `max_tokens` at all that fits."""
        self.num_attempts += 1
        arrival = self.arrival
        self.attempt_id = f"{arrival.number}~{self.num_attempts}"
        prompt = arrival.prompt_token_ids()
        return GenerateRequest(
            self.attempt_id,
            prompt,
            _SAMPLING,
            StopConditions(max(1, context_length - len(prompt)), stop_token_ids=_STOP),
            arrival.number,
            output_token_ids=(arrival.output.token_id,) * self.num_output,
            priority=arrival.priority,
        )

    def next_pause_s(self) -> float:
        """Before the next attempt, longer each time until a token comes."""
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, _MAX_PAUSE_S)
        return pause_s

    def take(self, num_tokens: int, now_s: float) -> None:
        """Tokens have come."""
        if self.first_s is None:
            self.first_s = now_s
        self.num_output += num_tokens
        self.last_s = now_s
        self.deadline_s = None
        self._pause_s = _FIRST_PAUSE_S
