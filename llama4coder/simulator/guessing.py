"""Whose guesses are right: proposers that know the outputs, and are wrong as often as they are told to be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from llama4coder.planner.step_load import StepLoad
from llama4coder.planner.step_time import StepTimes
from llama4coder.simulator.agenda import EngineClock
from llama4coder.simulator.arrivals import STOP_TOKEN, Part
from llama4coder.spec.types import Draft, DraftQuery, DraftSource, RowOutcome
from llama4coder.types import GenerateRequest


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Chances of guesses, each if all before it are right; the last one holds for all that follow."""

    chances: tuple[float, ...] = (0.8,)
    hit: float = 1.0  # chance that there are guesses for the outcome of a step at all

    def chance(self, place: int) -> float:
        return self.chances[min(place, len(self.chances) - 1)]


@dataclass(frozen=True, slots=True)
class DraftTimes:
    """How long a draft model takes: the more sequences, the longer."""

    steps: StepTimes
    num_forks: int = 1  # outcomes that are drafted for at once
    window_tokens: int = 2048

    def token_s(self, num_sequences: int) -> float:
        """Of one more guess for each of them, all of its forks."""
        num_rows = max(1, num_sequences) * self.num_forks
        return self.steps.step(StepLoad.decoding(num_rows, num_rows * self.window_tokens)).total_s


@dataclass(frozen=True, slots=True)
class Guesser:
    """One beside each target, which waits for its guesses."""

    source: DraftSource
    times: DraftTimes | None = None  # None: guesses take no time


class Guessing:
    """What is guessed of the outputs that one engine has begun."""

    def __init__(self, acceptance: Acceptance, outputs: Mapping[int, Part], seed: int) -> None:
        self._acceptance = acceptance
        self._outputs = outputs
        self._chance = Random(seed)
        self.known: dict[str, GenerateRequest] = {}

    def hits(self) -> bool:
        """Whether there are guesses for an outcome at all."""
        return self._chance.random() < self._acceptance.hit

    def guess(self, query: DraftQuery, num_tokens: int) -> tuple[int, ...]:
        """Right tokens, and from the first wrong one on wrong ones."""
        request = self.known[query.request_id]
        output = self._outputs[request.seed]
        num_left = output.num_tokens - (len(query.token_ids) - len(request.prompt_token_ids))
        right = [output.token_id] * (num_left - 1) + [STOP_TOKEN] * num_tokens
        for place in range(num_tokens):
            if self._chance.random() >= self._acceptance.chance(place):
                return (*right[:place], *[output.token_id + 1] * (num_tokens - place))
        return tuple(right[:num_tokens])


class SimulatedProposer:
    """Implements `Proposer` beside one engine; while it guesses, the engine's clock goes on."""

    def __init__(self, guessing: Guessing, guesser: Guesser, clock: EngineClock) -> None:
        self._guessing = guessing
        self._guesser = guesser
        self._clock = clock

    def begin(self, request: GenerateRequest) -> None:
        """See `Proposer.begin`."""
        self._guessing.known[request.request_id] = request

    def may_guess(self, request_id: str) -> bool:
        """See `Proposer.may_guess`."""
        return request_id in self._guessing.known

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, Draft]:
        """See `Proposer.propose`."""
        drafts = {
            query.request_id: Draft(self._guessing.guess(query, query.max_tokens), self._guesser.source)
            for query in queries
            if query.max_tokens and self._guessing.hits()
        }
        if drafts and self._guesser.times is not None:
            token_s = self._guesser.times.token_s(len(self._guessing.known))
            self._clock.now_s += token_s * max(len(draft.token_ids) for draft in drafts.values())
        return drafts

    def observe(self, outcomes: Sequence[RowOutcome]) -> None:
        """See `Proposer.observe`."""

    def end(self, request_id: str) -> None:
        """See `Proposer.end`."""
        self._guessing.known.pop(request_id, None)

    def close(self) -> None:
        """See `Proposer.close`."""
        self._guessing.known.clear()
