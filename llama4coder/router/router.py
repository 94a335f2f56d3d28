"""The router: a policy over the views of all replicas. No clock, no I/O: whoever calls says what time it is."""

from collections.abc import Collection

from llama4coder.kv.block_hash import BlockHash, extend_hashes
from llama4coder.obs.routing import RouteReason
from llama4coder.router.messages import Report
from llama4coder.router.names import short_name
from llama4coder.router.policy import Policy, considered
from llama4coder.router.types import Query, Route
from llama4coder.router.view import ReplicaView
from llama4coder.types import UNMARKED, Fingerprint, GenerateRequest

REPORT_PERIOD_S = 0.2  # a replica reports at least as often
_SILENT_AFTER_S = 2.0  # whoever has not reported for so long is not chosen


class Router:
    """Chooses replicas for requests; for one thread. Nothing here waits, and nothing is refused.

    Every request that gets a route is followed by `begun` when its first token has come, and by `ended`. Only replicas
    of the same model as `own` get any, and one that has begun goes on with what it began with.
    """

    def __init__(self, policy: Policy, block_size: int, own: Fingerprint = UNMARKED) -> None:
        self._policy = policy
        self._block_size = block_size
        self._own = own
        self._views: dict[str, ReplicaView] = {}
        self._lost: set[str] = set()
        self._routes: dict[str, str] = {}  # replica by request

    def receive(self, report: Report, now_s: float) -> None:
        """Take over a report; `ValueError` if it is damaged."""
        view = self._views.get(report.replica)
        if view is not None:
            view.receive(report, now_s)
        elif report.replica not in self._lost:
            self._views[report.replica] = ReplicaView(report, now_s, self._block_size)

    def keep(self, replicas: Collection[str]) -> None:
        """Forget all replicas but those that there are, as somebody knows who has asked them."""
        self._views = {name: view for name, view in self._views.items() if name in replicas}
        self._lost.clear()

    def lost(self, replica: str) -> None:
        """Forget a replica that has lost a request, until `keep` has been told of it and it reports again."""
        self._views.pop(replica, None)
        self._lost.add(replica)

    def route(
        self, request: GenerateRequest, avoid: frozenset[str], now_s: float, begun_with: Fingerprint | None = None
    ) -> Route | None:
        """Where it goes, None if no replica is known that could; from now on it counts as if it were there."""
        reporting = {
            name: view for name, view in self._reporting(now_s).items() if self._suits(view.fingerprint, begun_with)
        }
        if not reporting:
            return None
        self.ended(request.request_id)  # clients give ids, too, and may give one twice
        query = self._query(request, avoid)
        candidates = considered(query, [view.candidate_for(query) for view in reporting.values()])
        choice = self._policy.choose(query, candidates)
        replica = choice.candidate.replica
        self._views[replica].send(request.request_id, query)
        self._routes[request.request_id] = replica
        return Route(
            replica=replica,
            reason=choice.reason if len(candidates) > 1 else RouteReason.ONLY,
            num_cached_tokens=choice.candidate.num_cached_tokens,
            fingerprint=self._views[replica].fingerprint,
        )

    def oldest_report_s(self, now_s: float) -> float:
        """How long ago that replica last reported that has been silent for longest; zero if none is known."""
        return max((view.age_s(now_s) for view in self._views.values()), default=0.0)

    def has_room_beside(self, replica: str, request: GenerateRequest, now_s: float) -> bool:
        """Whether another replica than the one that has refused a request would take it now."""
        query = self._query(request, frozenset({replica}))
        candidates = (
            view.candidate_for(query)
            for name, view in self._reporting(now_s).items()
            if name != replica and self._suits(view.fingerprint, None)
        )
        return any(candidate.can_take and not candidate.is_draining for candidate in candidates)

    def knows_only_others(self, now_s: float) -> bool:
        """Whether there are replicas, and all of them are of another model."""
        views = self._reporting(now_s).values()
        return bool(views) and not any(self._suits(view.fingerprint, None) for view in views)

    def begun(self, request_id: str) -> None:
        """Its first token has come."""
        replica = self._routes.get(request_id)
        if replica in self._views:
            self._views[replica].begun(request_id)

    def ended(self, request_id: str) -> None:
        """It is over, at this replica at least; unknown ids are ignored."""
        replica = self._routes.pop(request_id, None)
        if replica in self._views:
            self._views[replica].ended(request_id)

    def _reporting(self, now_s: float) -> dict[str, ReplicaView]:
        return {name: view for name, view in self._views.items() if view.age_s(now_s) < _SILENT_AFTER_S}

    def _suits(self, fingerprint: Fingerprint, begun_with: Fingerprint | None) -> bool:
        return fingerprint.model == self._own.model if begun_with is None else fingerprint == begun_with

    def _query(self, request: GenerateRequest, avoid: frozenset[str]) -> Query:
        token_ids = (*request.prompt_token_ids, *request.output_token_ids)
        hashes: list[BlockHash] = []
        if request.sampling.num_prompt_logprobs is None or request.output_token_ids:  # else nothing can be shared
            # One token must be computed for its logits.
            extend_hashes(hashes, token_ids[:-1], self._block_size, request.cache_salt)
        return Query(len(token_ids), tuple(map(short_name, hashes)), avoid)
