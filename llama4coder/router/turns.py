"""Whose turn it is among replicas that are otherwise equal."""

from collections.abc import Sequence

from llama4coder.router.types import Candidate

_MAX_REMEMBERED = 1024  # replicas that come and go; many more than there are at once


class Turns:
    """Remembers which replicas were chosen, the last one last."""

    def __init__(self) -> None:
        self._chosen: dict[str, None] = {}

    def next_of(self, candidates: Sequence[Candidate]) -> Candidate:
        """The one that was chosen longest ago, or never; this counts as its choice."""
        order = {replica: place for place, replica in enumerate(self._chosen)}
        candidate = min(candidates, key=lambda each: (order.get(each.replica, -1), each.replica))
        self._chosen.pop(candidate.replica, None)
        self._chosen[candidate.replica] = None
        if len(self._chosen) > _MAX_REMEMBERED:
            del self._chosen[next(iter(self._chosen))]
        return candidate
