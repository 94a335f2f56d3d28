"""An engine without a model: outputs are known beforehand, and steps take the time that a function says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llama4coder.spec.types import Draft, DraftQuery, DraftSource, RowOutcome, Speculation, StepCost
from llama4coder.types import GenerateRequest
from tests.support.proposer_contract import verify

_PLANNING_S = 0.0005  # what a step costs more that was not planned while the one before it ran


@dataclass(slots=True)
class LoopStats:
    """What came of a run."""

    num_steps: int = 0
    num_waited: int = 0  # steps that were not planned ahead
    time_s: float = 0.0
    num_tokens: int = 0
    drafted: list[int] = field(default_factory=list)  # by step, of all rows
    texts: dict[str, list[int]] = field(default_factory=dict)  # outputs

    @property
    def tokens_per_step(self) -> float:
        return self.num_tokens / self.num_steps

    @property
    def tokens_per_s(self) -> float:
        return self.num_tokens / self.time_s


class SpeculationLoop:
    """Drives a `Speculation` as an engine does: asked only where it wanted to be, told of everything."""

    def __init__(
        self,
        speculation: Speculation,
        outputs: Sequence[tuple[GenerateRequest, Sequence[int]]],
        step_time_s: Callable[[int], float],
        guess_time_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._speculation = speculation
        self._requests = {request.request_id: request for request, _ in outputs}
        self._outputs = {request.request_id: list(output) for request, output in outputs}
        self._step_time_s = step_time_s
        self._guess_time_s = guess_time_s  # since it was last asked
        self.stats = LoopStats(texts={request_id: [] for request_id in self._requests})
        self._must_wait = True  # the first step has nothing to be planned beside

    def run(self, max_steps: int = 1_000_000) -> LoopStats:
        """All requests together until each has its output, or so many steps are over."""
        for request in self._requests.values():
            self._speculation.begin(request)
        running = list(self._requests)
        for _ in range(max_steps):
            if not running:
                break
            running = self._step(running)
        for request_id in self._requests:
            self._speculation.end(request_id)
        return self.stats

    def _step(self, running: list[str]) -> list[str]:
        waits = self._must_wait or self._speculation.wants(running)
        queries = [DraftQuery(name, self._known(name), 32) for name in running]
        drafts = self._speculation.propose(queries) if waits else {}
        outcomes = [self._verify(query, drafts.get(query.request_id)) for query in queries]
        num_drafted = sum(outcome.num_drafted for outcome in outcomes)
        time_s, guess_s = self._step_time_s(len(running) + num_drafted), self._guess_time_s()
        for outcome in outcomes:
            self.stats.texts[outcome.request_id] += outcome.new_token_ids
            self.stats.num_tokens += len(outcome.new_token_ids)
        self.stats.num_steps += 1
        self.stats.num_waited += waits
        self.stats.time_s += time_s + guess_s + (_PLANNING_S if waits else 0.0)
        self.stats.drafted.append(num_drafted)
        self._must_wait = num_drafted > 0
        self._speculation.observe(outcomes, StepCost(len(running), len(running) + num_drafted, time_s, guess_s))
        return [outcome.request_id for outcome in outcomes if not outcome.has_ended]

    def _known(self, request_id: str) -> tuple[int, ...]:
        return (*self._requests[request_id].prompt_token_ids, *self.stats.texts[request_id])

    def _verify(self, query: DraftQuery, draft: tuple[int, ...] | None) -> RowOutcome:
        following = self._outputs[query.request_id][len(self.stats.texts[query.request_id]) :]
        return verify(query, None if draft is None else Draft(draft, DraftSource.NGRAM), following)
