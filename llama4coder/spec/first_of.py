"""Several proposers as one: the first that has a guess gives it."""

from collections.abc import Mapping, Sequence

from llama4coder.spec.types import Draft, DraftQuery, Proposer, RowOutcome
from llama4coder.types import GenerateRequest


class FirstOf:
    """Implements `Proposer`; later ones are asked only about requests for which earlier ones had no guess."""

    def __init__(self, proposers: Sequence[Proposer]) -> None:
        self._proposers = tuple(proposers)

    def begin(self, request: GenerateRequest) -> None:
        """See `Proposer.begin`."""
        for proposer in self._proposers:
            proposer.begin(request)

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, Draft]:
        """See `Proposer.propose`."""
        drafts: dict[str, Draft] = {}
        for proposer in self._proposers:
            open_queries = [query for query in queries if query.request_id not in drafts]
            if open_queries:
                drafts |= proposer.propose(open_queries)
        return drafts

    def may_guess(self, request_id: str) -> bool:
        """See `Proposer.may_guess`."""
        return any(proposer.may_guess(request_id) for proposer in self._proposers)

    def observe(self, outcomes: Sequence[RowOutcome]) -> None:
        """See `Proposer.observe`."""
        for proposer in self._proposers:
            proposer.observe(outcomes)

    def end(self, request_id: str) -> None:
        """See `Proposer.end`."""
        for proposer in self._proposers:
            proposer.end(request_id)

    def close(self) -> None:
        """See `Proposer.close`."""
        for proposer in self._proposers:
            proposer.close()
