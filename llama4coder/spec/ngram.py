"""Guesses from what the request itself holds: its prediction, its prompt and its output so far."""

from collections.abc import Mapping, Sequence

from llama4coder.spec.follower import LONGEST_MATCH, Follower
from llama4coder.spec.types import Draft, DraftQuery, DraftSource, RowOutcome
from llama4coder.types import GenerateRequest


class NgramProposer:
    """Implements `Proposer` by prompt lookup; costs microseconds per token and 12 bytes of memory or so."""

    def __init__(self) -> None:
        self._followers: dict[str, Follower] = {}

    def begin(self, request: GenerateRequest) -> None:
        """See `Proposer.begin`; takes about 0.2 us per token of prompt and prediction."""
        token_ids = [*request.prompt_token_ids, *request.output_token_ids]
        self._followers[request.request_id] = Follower(request.prediction_token_ids, token_ids)

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, Draft]:
        """See `Proposer.propose`."""
        return self.propose_after(queries, min_match=0)

    def propose_after(self, queries: Sequence[DraftQuery], min_match: int) -> Mapping[str, Draft]:
        """Guesses only where at least so many tokens were as they are now."""
        drafts = {}
        for query in queries:
            guess = self._guess(query, min_match)
            if guess:
                drafts[query.request_id] = Draft(guess, DraftSource.NGRAM)
        return drafts

    def may_guess(self, request_id: str) -> bool:
        """See `Proposer.may_guess`."""
        return self.may_guess_after(request_id, min_match=0)

    def may_guess_after(self, request_id: str, min_match: int) -> bool:
        """Whether `propose_after` would have a guess."""
        follower = self._followers.get(request_id)
        return follower is not None and follower.num_matched >= min_match and bool(follower.guess(1))

    def observe(self, outcomes: Sequence[RowOutcome]) -> None:
        """See `Proposer.observe`."""
        for outcome in outcomes:
            follower = self._followers.get(outcome.request_id)
            if follower is not None:
                follower.extend(outcome.new_token_ids)

    def end(self, request_id: str) -> None:
        """See `Proposer.end`."""
        self._followers.pop(request_id, None)

    def close(self) -> None:
        """See `Proposer.close`."""
        self._followers.clear()

    def _guess(self, query: DraftQuery, min_match: int) -> tuple[int, ...]:
        follower = self._followers.get(query.request_id)
        if follower is None or follower.num_tokens != len(query.token_ids) or follower.num_matched < min_match:
            return ()
        return follower.guess(query.max_tokens)


class LongMatches:
    """Implements `Proposer` by those guesses of another one that follow a long match; that one keeps the books."""

    def __init__(self, ngram: NgramProposer, min_match: int = LONGEST_MATCH) -> None:
        self._ngram = ngram
        self._min_match = min_match

    def begin(self, request: GenerateRequest) -> None:
        """The other one is told."""

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, Draft]:
        """See `Proposer.propose`."""
        return self._ngram.propose_after(queries, self._min_match)

    def may_guess(self, request_id: str) -> bool:
        """See `Proposer.may_guess`."""
        return self._ngram.may_guess_after(request_id, self._min_match)

    def observe(self, outcomes: Sequence[RowOutcome]) -> None:
        """The other one is told."""

    def end(self, request_id: str) -> None:
        """The other one is told."""

    def close(self) -> None:
        """The other one is closed."""
