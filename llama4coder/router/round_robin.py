"""One after the other, whatever they do."""

from collections.abc import Sequence

from llama4coder.obs.routing import RouteReason
from llama4coder.router.turns import Turns
from llama4coder.router.types import Candidate, Choice, Query


class RoundRobin:
    """Implements `Policy`."""

    def __init__(self) -> None:
        self._turns = Turns()

    def choose(self, query: Query, candidates: Sequence[Candidate]) -> Choice:
        """See `Policy.choose`."""
        return Choice(self._turns.next_of(candidates), RouteReason.TURN)
