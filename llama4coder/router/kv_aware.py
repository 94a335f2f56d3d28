"""Where the prompt's beginning is cached, unless that replica has too much to do."""

from collections.abc import Sequence

from llama4coder.obs.routing import RouteReason
from llama4coder.router.least_load import LeastLoad
from llama4coder.router.types import Candidate, Choice, Query

NEAR = 1.1
"""Scores this close to the best are as good as it: what is known of replicas is a little old."""


class KVAware:
    """Implements `Policy`: the lowest product of tokens to prefill and sequences that wait for them meanwhile.

    To prefill are what is queued there and what of the query is not cached there; each token of it delays every
    sequence of the replica. There are no weights to tune (LMetric, arXiv 2603.15202). Near ties go to the least load,
    so that traffic without common beginnings goes where least load would send it.
    """

    def __init__(self) -> None:
        self._least_load = LeastLoad()

    def choose(self, query: Query, candidates: Sequence[Candidate]) -> Choice:
        """See `Policy.choose`."""
        best = min(_score(query, candidate) for candidate in candidates)
        near = [candidate for candidate in candidates if _score(query, candidate) <= NEAR * best]
        chosen = self._least_load.least_of(near)
        fewest_cached = min(candidate.num_cached_tokens for candidate in candidates)
        is_for_prefix = chosen.num_cached_tokens > fewest_cached
        return Choice(chosen, RouteReason.PREFIX if is_for_prefix else RouteReason.LOAD)


def _score(query: Query, candidate: Candidate) -> int:
    num_new_tokens = query.num_tokens - candidate.num_cached_tokens
    return (candidate.num_prefill_tokens + num_new_tokens) * (candidate.num_sequences + 1)
