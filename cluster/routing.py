"""The router at work: its clock, its metrics, and the reports that it lives on."""

import time
from typing import Any

from ray.serve.handle import DeploymentHandle

from cluster.channel.report_receiver import ReportReceiver
from cluster.replica_directory import ReplicaDirectory
from llama4coder.obs.routing import RouteReason, RoutingObserver
from llama4coder.router.messages import Report
from llama4coder.router.router import Router
from llama4coder.types import GenerateRequest, TokenEvent


class Routing:
    """Tells an ingress where to send each request; for its event loop. Nothing here waits."""

    def __init__(self, router: Router, observer: RoutingObserver) -> None:
        self._router = router
        self._observer = observer

    def receive(self, report: Report) -> None:
        """See `Router.receive`."""
        self._router.receive(report, time.monotonic())

    def choose(self, request: GenerateRequest, avoid: frozenset[str]) -> str | None:
        """The replica that the request should go to; None leaves it to Serve."""
        started_s = time.perf_counter()
        route = self._router.route(request, avoid, time.monotonic())
        overhead_s = time.perf_counter() - started_s
        if route is None:
            self._observer.on_route(RouteReason.UNKNOWN, 0, overhead_s, 0.0)
            return None
        self._observer.on_route(route.reason, route.num_cached_tokens, overhead_s, route.report_age_s)
        return route.replica

    def begun(self, first: TokenEvent) -> None:
        """A request's first event has come."""
        self._router.begun(first.request_id)
        self._observer.on_prefix(first.num_cached_tokens)

    def ended(self, request_id: str) -> None:
        """The call is over, however."""
        self._router.ended(request_id)

    def lost(self, replica: str) -> None:
        """See `Router.lost`."""
        self._router.lost(replica)

    def has_room_beside(self, replica: str, request: GenerateRequest) -> bool:
        """See `Router.has_room_beside`."""
        return self._router.has_room_beside(replica, request, time.monotonic())


class LiveReports:
    """Keeps a router up to date with the replicas of a deployment; for the event loop that created it."""

    def __init__(self, target: DeploymentHandle[Any], host: str, routing: Routing, router: Router) -> None:
        self._receiver = ReportReceiver(host, routing.receive)
        self._directory = ReplicaDirectory(target, self._receiver.endpoint, router.keep)

    async def stop(self) -> None:
        """What the router knows grows old."""
        await self._directory.stop()
        await self._receiver.close()
