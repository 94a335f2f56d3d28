"""Whose guesses are right: a proposer that knows the outputs, and is wrong as often as it is told to be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from llama4coder.planner.step_load import StepLoad
from llama4coder.planner.step_time import StepTimes
from llama4coder.simulator.agenda import EngineClock
from llama4coder.simulator.arrivals import STOP_TOKEN, Part
from llama4coder.spec.types import Draft, DraftQuery, DraftSource, RowOutcome
from llama4coder.types import GenerateRequest

_MOST = 2**30


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Chances of guesses, each if all before it are right; the last one holds for all that follow."""

    chances: tuple[float, ...] = (0.8,)
    hit: float = 1.0  # chance that there are guesses for the outcome of a step at all

    def chance(self, place: int) -> float:
        return self.chances[min(place, len(self.chances) - 1)]


class DraftPool:
    """The replicas of a draft pool, shared by all targets: the more sequences, the longer a guess takes."""

    def __init__(self, times: StepTimes, num_replicas: int, num_forks: int, window_tokens: int) -> None:
        self._times = times
        self._num_replicas = num_replicas
        self._num_forks = num_forks  # outcomes that are drafted for at once
        self._window_tokens = window_tokens
        self.num_sessions = 0

    def token_s(self) -> float:
        """Of one more guess for each sequence of the fullest replica, all of its forks."""
        num_rows = max(1, -(-self.num_sessions // self._num_replicas)) * self._num_forks
        return self._times.step(StepLoad.decoding(num_rows, num_rows * self._window_tokens)).total_s


@dataclass(frozen=True, slots=True)
class GuessSpeed:
    """When guesses are there: made while the target computes its step, or while the target waits for them."""

    source: DraftSource
    pool: DraftPool | None = None  # None: guesses take no time
    delay_s: float = 0.0  # of messages to a pool and back
    is_ahead: bool = False  # made during the step before; what is late is not used

    def token_s(self) -> float:
        """Of one more guess for each sequence."""
        return 0.0 if self.pool is None else self.pool.token_s()

    def count(self, num_sessions: int) -> None:
        """So many sequences more."""
        if self.pool is not None:
            self.pool.num_sessions += num_sessions


class SimulatedProposer:
    """Implements `Proposer`; for one engine."""

    def __init__(
        self, acceptance: Acceptance, speed: GuessSpeed, outputs: Mapping[int, Part], clock: EngineClock, seed: int
    ) -> None:
        self._acceptance = acceptance
        self._speed = speed
        self._outputs = outputs
        self._clock = clock
        self._chance = Random(seed)
        self._known: dict[str, GenerateRequest] = {}
        self._since_s: dict[str, float] = {}  # when its last outcome was known
        self._span_s: dict[str, float] = {}  # from the outcome before to that: what a pool had to guess in

    def begin(self, request: GenerateRequest) -> None:
        """See `Proposer.begin`."""
        self._known[request.request_id] = request
        self._speed.count(1)
        self._since_s[request.request_id] = self._clock.now_s
        self._span_s[request.request_id] = 0.0

    def may_guess(self, request_id: str) -> bool:
        """See `Proposer.may_guess`."""
        return request_id in self._known

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, Draft]:
        """See `Proposer.propose`; where the target waits for guesses, its clock goes on."""
        drafts = {}
        token_s = self._speed.token_s()
        for query in queries:
            num_tokens = min(query.max_tokens, self._num_ready(query.request_id, token_s))
            if num_tokens > 0 and self._chance.random() < self._acceptance.hit:
                drafts[query.request_id] = Draft(self._guess(query, num_tokens), self._speed.source)
        if drafts and not self._speed.is_ahead:
            self._clock.now_s += token_s * max(len(draft.token_ids) for draft in drafts.values())
        return drafts

    def observe(self, outcomes: Sequence[RowOutcome]) -> None:
        """See `Proposer.observe`."""
        for outcome in outcomes:
            now_s = self._clock.now_s
            self._span_s[outcome.request_id] = now_s - self._since_s[outcome.request_id]
            self._since_s[outcome.request_id] = now_s

    def end(self, request_id: str) -> None:
        """See `Proposer.end`."""
        if self._known.pop(request_id, None) is not None:
            del self._since_s[request_id], self._span_s[request_id]
            self._speed.count(-1)

    def close(self) -> None:
        """See `Proposer.close`."""
        self._speed.count(-len(self._known))
        self._known.clear()

    def _num_ready(self, request_id: str, token_s: float) -> int:
        """A pool guesses from one outcome to the next; who is waited for, as many as are wanted."""
        if not self._speed.is_ahead:
            return _MOST
        return int((self._span_s[request_id] - self._speed.delay_s) / token_s)

    def _guess(self, query: DraftQuery, num_tokens: int) -> tuple[int, ...]:
        """Right tokens, and from the first wrong one on wrong ones."""
        request = self._known[query.request_id]
        output = self._outputs[request.seed]
        num_left = output.num_tokens - (len(query.token_ids) - len(request.prompt_token_ids))
        right = [output.token_id] * (num_left - 1) + [STOP_TOKEN] * num_tokens
        for place in range(num_tokens):
            if self._chance.random() >= self._acceptance.chance(place):
                return (*right[:place], *[output.token_id + 1] * (num_tokens - place))
        return tuple(right[:num_tokens])
