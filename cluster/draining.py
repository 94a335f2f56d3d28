"""How a replica ends: it hears that it shall, works on for a while, and hands over what is left.

Serve sends nothing more to a replica that it stops, waits until its calls have ended, and tells the replica only then;
the replica must know before, so that calls which would take too long can go on elsewhere. On a node that is to be
emptied it must know even before Serve stops it.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import ray
from ray.exceptions import RayError

from cluster.ray_names import DRAINING_NODES, IS_STOPPING, REPLICA_IMPL, WORKER
from cluster.tasks import cancel

_LOOK_S = 0.1
_ASK_S = 1.0  # between two looks at the node, which ask the head
_ASK_TIMEOUT_S = 5.0
_NODE_MARGIN_S = 10.0  # before the node's end: to find another replica and compute the prompt again

_log = logging.getLogger("ray.serve")  # the one that Serve writes to the replica's file


@dataclass(frozen=True, slots=True)
class Notice:
    """What is known of a replica's end."""

    is_stopping: bool = False  # Serve waits for its calls to end
    is_node_draining: bool = False
    node_ends_in_s: float | None = None  # None: nobody has said when


class DrainTimer:
    """When a replica began to drain, and when it must have done.

    No clock, no I/O: whoever calls says what time it is.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._began_s: float | None = None
        self._ends_s: float | None = None
        self.is_draining = False

    def hear(self, notice: Notice, now_s: float) -> None:
        """Take over what is known now; an end once known stays, and can only come nearer."""
        self.is_draining = self.is_draining or notice.is_stopping or notice.is_node_draining
        ends = [] if self._ends_s is None else [self._ends_s]
        if notice.is_stopping and self._began_s is None:
            self._began_s = now_s
            ends.append(now_s + self._timeout_s)
        if notice.node_ends_in_s is not None:
            ends.append(now_s + max(0.0, notice.node_ends_in_s - _NODE_MARGIN_S))
        self._ends_s = min(ends, default=None)

    def is_over(self, now_s: float) -> bool:
        """Whether what has not ended must go elsewhere."""
        return self._ends_s is not None and now_s >= self._ends_s

    def lasted_s(self, now_s: float) -> float | None:
        """Seconds since Serve said stop, None if it has not."""
        return None if self._began_s is None else now_s - self._began_s


class Draining:
    """Watches for the end of the Serve replica that this process is; for the event loop that created it.

    `on_over` is called when the time is over, and again and again from then on: calls may still arrive.
    """

    def __init__(self, timeout_s: float, on_over: Callable[[], None]) -> None:
        self._timer = DrainTimer(timeout_s)
        self._on_over = on_over
        _serve_replica_is_stopping()  # fail now rather than then, if this Ray is made otherwise
        self._task = asyncio.create_task(self._watch())

    @property
    def is_draining(self) -> bool:
        """Whether this replica will soon be gone."""
        return self._timer.is_draining

    def lasted_s(self) -> float | None:
        """See `DrainTimer.lasted_s`."""
        return self._timer.lasted_s(time.monotonic())

    async def stop(self) -> None:
        """Watch no more; idempotent."""
        await cancel(self._task)

    async def _watch(self) -> None:
        node = asyncio.create_task(asyncio.to_thread(_look_at_node))
        asked_s = time.monotonic()
        try:
            while True:
                now_s = time.monotonic()
                if _serve_replica_is_stopping():
                    self._hear(Notice(is_stopping=True), now_s)
                if node.done() and now_s - asked_s > _ASK_S:
                    self._hear(node.result(), now_s)
                    node, asked_s = asyncio.create_task(asyncio.to_thread(_look_at_node)), now_s
                if self._timer.is_over(now_s):
                    self._on_over()
                await asyncio.sleep(_LOOK_S)
        finally:
            node.cancel()

    def _hear(self, notice: Notice, now_s: float) -> None:
        was_draining = self._timer.is_draining
        self._timer.hear(notice, now_s)
        if self._timer.is_draining and not was_draining:
            _log.info("draining: %s", "this replica is to stop" if notice.is_stopping else "its node is to be emptied")


def _serve_replica_is_stopping() -> bool:
    worker = WORKER.find()
    is_stopping: bool = IS_STOPPING.of(REPLICA_IMPL.of(worker.actors[worker.actor_id]))
    return is_stopping


def _look_at_node() -> Notice:
    """What the head says of this node; nothing while the head is away."""
    worker = WORKER.find()
    try:
        ends_ms: dict[str, int] = DRAINING_NODES.of(worker.gcs_client)(timeout=_ASK_TIMEOUT_S)
    except RayError as error:
        _log.debug("the head was not asked whether this node is to be emptied: %s", type(error).__name__)
        return Notice()
    return node_notice(ends_ms, ray.get_runtime_context().get_node_id(), time.time())


def node_notice(ends_ms: dict[str, int], node_id: str, now_unix_s: float) -> Notice:
    """From the ends of draining nodes, in Unix milliseconds, 0 if there is none to say."""
    if node_id not in ends_ms:
        return Notice()
    end_ms = ends_ms[node_id]
    return Notice(is_node_draining=True, node_ends_in_s=end_ms / 1000 - now_unix_s if end_ms else None)
