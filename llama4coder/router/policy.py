"""The one interface of routing policies, and what all of them have in common."""

from collections.abc import Callable, Sequence
from typing import Protocol

from llama4coder.router.types import Candidate, Choice, Query


class Policy(Protocol):
    """Chooses a replica. Contract, checked by one suite on every implementation:

    - `candidates` is not empty, in any order; the choice is one of them.
    - The choice depends on the arguments and on earlier choices alone.
    - Equal candidates get equally many requests.

    Which candidates may be chosen at all is `considered`'s business, not theirs.
    """

    def choose(self, query: Query, candidates: Sequence[Candidate]) -> Choice: ...


def considered(query: Query, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """The candidates that a policy may choose from: never none, as long as there is one.

    A replica that drains is left out if another lives; then one that has lost or refused this request; then one
    without room for it now. None is refused for good: the replica's own admission decides.
    """
    for is_wanted in _preferences(query):
        candidates = [candidate for candidate in candidates if is_wanted(candidate)] or candidates
    return candidates


def _preferences(query: Query) -> Sequence[Callable[[Candidate], bool]]:
    """The most important first."""
    return (
        lambda candidate: not candidate.is_draining,
        lambda candidate: candidate.replica not in query.avoid,
        lambda candidate: candidate.can_take,
    )
