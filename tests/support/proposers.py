"""Proposers that are right, wrong, late, silent or worse, for whoever must not mind."""

import random
from collections.abc import Mapping, Sequence

from llama4coder.spec.types import Draft, DraftQuery, DraftSource, RowOutcome
from llama4coder.types import GenerateRequest


class FakeProposer:
    """Knows the whole output of every request, by id, and makes of it what a subclass says."""

    def __init__(self, continuations: Mapping[str, Sequence[int]]) -> None:
        self._continuations = continuations
        self._num_prompt_tokens: dict[str, int] = {}

    def begin(self, request: GenerateRequest) -> None:
        """See `Proposer.begin`."""
        self._num_prompt_tokens[request.request_id] = len(request.prompt_token_ids)

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, Draft]:
        """See `Proposer.propose`."""
        answers = {query.request_id: self.answer(query) for query in queries if self.may_guess(query.request_id)}
        return {name: Draft(tuple(tokens), DraftSource.NGRAM) for name, tokens in answers.items() if tokens}

    def may_guess(self, request_id: str) -> bool:
        """See `Proposer.may_guess`."""
        return request_id in self._num_prompt_tokens

    def observe(self, outcomes: Sequence[RowOutcome]) -> None:
        """See `Proposer.observe`."""

    def end(self, request_id: str) -> None:
        """See `Proposer.end`."""
        self._num_prompt_tokens.pop(request_id, None)

    def close(self) -> None:
        """See `Proposer.close`."""

    def answer(self, query: DraftQuery) -> Sequence[int]:
        """What to say; nothing where it is empty."""
        return self.following(query, query.max_tokens)

    def following(self, query: DraftQuery, num_tokens: int) -> Sequence[int]:
        """The right answer."""
        start = len(query.token_ids) - self._num_prompt_tokens[query.request_id]
        return self._continuations[query.request_id][start : start + num_tokens]


class AlwaysRight(FakeProposer):
    """Every guess is right."""


class Laborious(AlwaysRight):
    """Every guess is right, and takes so long for each token."""

    def __init__(self, continuations: Mapping[str, Sequence[int]], per_token_s: float) -> None:
        super().__init__(continuations)
        self._per_token_s = per_token_s
        self._spent_s = 0.0

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, Draft]:
        self._spent_s += self._per_token_s * max((query.max_tokens for query in queries), default=0)
        return super().propose(queries)

    def time_s(self) -> float:
        """What it has taken since it was last asked."""
        spent_s, self._spent_s = self._spent_s, 0.0
        return spent_s


class NeverRight(FakeProposer):
    """Every guess is wrong, though it could have been right."""

    def answer(self, query: DraftQuery) -> Sequence[int]:
        return [token_id ^ 1 for token_id in self.following(query, query.max_tokens)]


class SometimesRight(FakeProposer):
    """Each token is right with probability `alpha`, always in the same places for the same seed."""

    def __init__(self, continuations: Mapping[str, Sequence[int]], alpha: float, seed: int = 0) -> None:
        super().__init__(continuations)
        self._alpha = alpha
        self._seed = seed

    def answer(self, query: DraftQuery) -> Sequence[int]:
        places = enumerate(self.following(query, query.max_tokens), len(query.token_ids))
        return [token_id ^ (not self._is_right(query.request_id, place)) for place, token_id in places]

    def _is_right(self, request_id: str, place: int) -> bool:
        return random.Random(f"{self._seed} {request_id} {place}").random() < self._alpha


class Late(FakeProposer):
    """Answers what it was asked the time before."""

    def __init__(self, continuations: Mapping[str, Sequence[int]]) -> None:
        super().__init__(continuations)
        self._prepared: dict[str, Sequence[int]] = {}

    def answer(self, query: DraftQuery) -> Sequence[int]:
        late = self._prepared.get(query.request_id, ())
        self._prepared[query.request_id] = self.following(query, query.max_tokens)
        return late[: query.max_tokens]


class Silent(FakeProposer):
    """Says that it may guess, and never does: what is left of a dead drafter."""

    def __init__(self) -> None:
        super().__init__({})

    def answer(self, query: DraftQuery) -> Sequence[int]:
        return ()


class Lying(FakeProposer):
    """Answers about requests that nobody asked for, mixes up the others, and says that it never may guess."""

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, Draft]:
        names = [query.request_id for query in queries]
        known = [query for query in queries if query.request_id in self._num_prompt_tokens]
        answers = {query.request_id: self.following(query, query.max_tokens) for query in known}
        mixed = dict(zip(names, reversed(list(answers.values())), strict=False)) | {"nobody": (1, 2, 3)}
        return {name: Draft(tuple(tokens), DraftSource.POOL) for name, tokens in mixed.items()}

    def may_guess(self, request_id: str) -> bool:
        return False


class OutOfVocabulary(FakeProposer):
    """One right token, and ids that no vocabulary has."""

    def answer(self, query: DraftQuery) -> Sequence[int]:
        return [*self.following(query, 1), 2**40, -1][: query.max_tokens]


class TooLong(FakeProposer):
    """Right, and more than was asked for."""

    def answer(self, query: DraftQuery) -> Sequence[int]:
        return self.following(query, 2 * query.max_tokens + 40)


class Empty(FakeProposer):
    """Answers every query with no token at all."""

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, Draft]:
        return {query.request_id: Draft((), DraftSource.LOCAL) for query in queries}


def all_fakes(continuations: Mapping[str, Sequence[int]]) -> Mapping[str, FakeProposer]:
    """One of each, by name."""
    fakes = (
        AlwaysRight(continuations),
        NeverRight(continuations),
        SometimesRight(continuations, alpha=0.6),
        Late(continuations),
        Silent(),
        Lying(continuations),
        OutOfVocabulary(continuations),
        TooLong(continuations),
        Empty(continuations),
    )
    return {type(fake).__name__: fake for fake in fakes}
