"""Where there is the least to do."""

from collections.abc import Sequence

from llama4coder.obs.routing import RouteReason
from llama4coder.router.turns import Turns
from llama4coder.router.types import Candidate, Choice, Query


class LeastLoad:
    """Implements `Policy`: the fewest sequences, then the fewest tokens to prefill, then the fewest that are held."""

    def __init__(self) -> None:
        self._turns = Turns()

    def choose(self, query: Query, candidates: Sequence[Candidate]) -> Choice:
        """See `Policy.choose`."""
        return Choice(self.least_of(candidates), RouteReason.LOAD)

    def least_of(self, candidates: Sequence[Candidate]) -> Candidate:
        """One of those with the least load, in turns."""
        least = min(map(_load, candidates))
        return self._turns.next_of([candidate for candidate in candidates if _load(candidate) == least])


def _load(candidate: Candidate) -> tuple[int, int, int]:
    return candidate.num_sequences, candidate.num_prefill_tokens, candidate.num_running_tokens
