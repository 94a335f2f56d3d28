"""Speculation that knows the answer, and gets it wrong as often as it is told to."""

from collections.abc import Mapping, Sequence
from random import Random

from llama4coder.spec.types import DraftQuery, NoSpeculation, RowOutcome, StepCost
from llama4coder.types import GenerateRequest
from tests.support.models import TINY

_VOCAB_SIZE = TINY["vocab_size"]


class Scripted(NoSpeculation):
    """Implements `Speculation`: guesses of every length, each token right with some probability, for some rows."""

    def __init__(self, answers: Mapping[str, Sequence[int]], chance_right: float, seed: int = 0) -> None:
        self.num_accepted = 0
        self.num_drafted = 0
        self._answers = answers
        self._chance_right = chance_right
        self._random = Random(seed)
        self._begun: dict[str, GenerateRequest] = {}

    def begin(self, request: GenerateRequest) -> None:
        self._begun[request.request_id] = request

    def wants(self, request_ids: Sequence[str]) -> bool:
        return self._random.random() < 0.8

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, tuple[int, ...]]:
        drafts = {query.request_id: self._guess(query) for query in queries if self._random.random() < 0.8}
        return {request_id: draft for request_id, draft in drafts.items() if draft}

    def observe(self, outcomes: Sequence[RowOutcome], cost: StepCost) -> None:
        self.num_accepted += sum(outcome.num_accepted for outcome in outcomes)
        self.num_drafted += sum(outcome.num_drafted for outcome in outcomes)

    def end(self, request_id: str) -> None:
        self._begun.pop(request_id, None)

    def _guess(self, query: DraftQuery) -> tuple[int, ...]:
        num_output = len(query.token_ids) - len(self._begun[query.request_id].prompt_token_ids)
        coming = self._answers[query.request_id][num_output:][: self._random.randint(1, min(8, query.max_tokens))]
        return tuple(
            token if self._random.random() < self._chance_right else self._random.randrange(_VOCAB_SIZE)
            for token in coming
        )
