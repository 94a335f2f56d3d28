"""The router at work: its clock, its metrics, and the reports that it lives on."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from ray.serve.handle import DeploymentHandle

from cluster.channel.report_receiver import ReportReceiver
from cluster.replica_directory import ReplicaDirectory
from llama4coder.obs.routing import RouteReason, RoutingObserver
from llama4coder.router.messages import Report
from llama4coder.router.router import REPORT_PERIOD_S, Router
from llama4coder.types import UNMARKED, Fingerprint, GenerateRequest, TokenEvent


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a request goes, and which answers it is to get there."""

    replica: str | None  # None leaves it to Serve
    fingerprint: Fingerprint


class Routing:
    """Tells an ingress where to send each request; for its event loop. Nothing here waits.

    `own` is the fingerprint of the configuration that the ingress was started with.
    """

    def __init__(self, router: Router, observer: RoutingObserver, own: Fingerprint = UNMARKED) -> None:
        self._router = router
        self._observer = observer
        self._own = own

    def receive(self, report: Report) -> None:
        """See `Router.receive`."""
        self._router.receive(report, time.monotonic())

    def choose(
        self, request: GenerateRequest, avoid: frozenset[str], begun_with: Fingerprint | None = None
    ) -> Destination:
        """Where the request should go, which may have been begun by a replica with the fingerprint `begun_with`."""
        started_s = time.perf_counter()
        now_s = time.monotonic()
        route = self._router.route(request, avoid, now_s, begun_with)
        overhead_s, report_age_s = time.perf_counter() - started_s, self._router.oldest_report_s(now_s)
        if route is None:
            self._observer.on_route(RouteReason.UNKNOWN, 0, overhead_s, report_age_s)
            return Destination(None, begun_with or self._own)
        self._observer.on_route(route.reason, route.num_cached_tokens, overhead_s, report_age_s)
        return Destination(route.replica, route.fingerprint)

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

    def knows_only_others(self) -> bool:
        """See `Router.knows_only_others`."""
        return self._router.knows_only_others(time.monotonic())

    def has_room_beside(self, replica: str, request: GenerateRequest) -> bool:
        """See `Router.has_room_beside`."""
        return self._router.has_room_beside(replica, request, time.monotonic())


class LiveReports:
    """Keeps a router up to date with the replicas of a deployment; for the event loop that created it."""

    def __init__(self, target: DeploymentHandle[Any], host: str, routing: Routing, router: Router) -> None:
        self._receiver = ReportReceiver(host, routing.receive)
        self._directory = ReplicaDirectory(target, self._receiver.endpoint, router.keep)

    async def settle(self) -> None:
        """Wait until the replicas that there are have had the time to report."""
        await self._directory.has_asked.wait()
        await asyncio.sleep(2 * REPORT_PERIOD_S)

    async def stop(self) -> None:
        """What the router knows grows old."""
        await self._directory.stop()
        await self._receiver.close()


async def await_own_model(routing: Routing, reports: LiveReports) -> None:
    """Wait as long as all replicas are of another model, which this ingress cannot ask; not if there is none at all."""
    await reports.settle()
    while routing.knows_only_others():
        await asyncio.sleep(REPORT_PERIOD_S)
