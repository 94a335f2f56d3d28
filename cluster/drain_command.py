"""`llama4coder drain`: a node is to go; its replicas leave it before, and their requests go on elsewhere.

It speaks to the head alone: a process that had joined the node's Ray would end with it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayError
from ray.util import get_node_ip_address

from cluster.ray_names import (
    DRAIN_REASON,
    HEAD_ADDRESS,
    HEAD_CLIENT,
    HEAD_CLIENT_OPTIONS,
    HEAD_DRAIN,
    HEAD_RESOURCE,
    HEAD_STATE,
    HEAD_STATE_INIT,
)
from llama4coder.errors import ConfigError, Unavailable

_POLL_S = 1.0
_ASK_TIMEOUT_S = 5.0
_SETTLE_S = 30.0  # until the drain commands of nodes that are stopped together have all begun
_WHY = "llama4coder drain"
_OF_SERVE_ITSELF = ("ServeController", "ProxyActor", "HAProxyManager")  # which run as long as their node does

Told = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Occupation:
    """What is left on a node."""

    is_alive: bool
    num_actors: int = 0

    @property
    def is_empty(self) -> bool:
        return not self.is_alive or self.num_actors == 0


class Head:
    """The head of a running Ray, asked without joining it; `ConfigError` if none is found."""

    def __init__(self, address: str | None) -> None:
        try:
            found = HEAD_ADDRESS.find()(address)  # None: of this machine
            self._client = HEAD_CLIENT.find()(address=found)
            self._state = HEAD_STATE.find()()
            HEAD_STATE_INIT.of(self._state)(
                HEAD_CLIENT_OPTIONS.find().create(found, None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=False)
            )
        except (ConnectionError, ValueError, RayError) as error:
            raise ConfigError(f"no Ray can be reached: {error}; say where its head is with --address") from None

    def node_id(self, node: str | None) -> str:
        """Of the node with this id or address, this machine's by default."""
        return find_node(self._state.node_table(), node or get_node_ip_address())  # type: ignore[no-untyped-call]

    def drain(self, node_id: str, timeout_s: float) -> None:
        """Have a node get nothing new, and what Serve has there replaced; `Unavailable` if Ray refuses."""
        end_ms = int((time.time() + timeout_s) * 1000)
        reason = DRAIN_REASON.find().Value("DRAIN_NODE_REASON_PREEMPTION")  # the one that busy nodes accept
        is_accepted, why_not = HEAD_DRAIN.of(self._client)(node_id, reason, _WHY, end_ms)
        if not is_accepted:
            raise Unavailable(f"Ray does not drain the node: {why_not}")

    def num_draining(self) -> int:
        """How many nodes are being drained, and have not gone."""
        return len(self._client.get_draining_nodes(timeout=_ASK_TIMEOUT_S))

    def occupation(self, node_id: str) -> Occupation:
        """What is left there now."""
        nodes: list[Told] = self._state.node_table()
        actors: Mapping[str, Told] = self._state.actor_table(None)
        return occupation(nodes, actors.values(), node_id)


def drain(head: Head, node: str | None, timeout_s: float, tell: Callable[[str], None]) -> bool:
    """Drain a node, and wait until it is empty; False if it is not in time."""
    node_id = head.node_id(node)
    deadline_s = time.monotonic() + timeout_s
    head.drain(node_id, timeout_s)
    tell(f"draining node {node_id}, for at most {timeout_s:g} s")
    last_told: int | None = None
    while not (left := head.occupation(node_id)).is_empty:
        if left.num_actors != last_told:
            tell(f"{left.num_actors} processes of the deployment are still there")
            last_told = left.num_actors
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
    return True


def outlast(head: Head, timeout_s: float, tell: Callable[[str], None]) -> bool:
    """Wait until no node is being drained any more, as the last one to go must; False if that is not in time."""
    deadline_s = time.monotonic() + timeout_s
    tell(f"waiting for nodes that are being drained, for at most {timeout_s:g} s")
    time.sleep(min(_SETTLE_S, timeout_s))
    last_told: int | None = None
    while num_left := head.num_draining():
        if num_left != last_told:
            tell(f"{num_left} nodes are being drained")
            last_told = num_left
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
    return True


def find_node(nodes: list[Told], wanted: str) -> str:
    """The id of a living node by its id or address; `ConfigError` if there is none, several, or it is the head."""
    found = [node for node in nodes if node["Alive"] and wanted in (node["NodeID"], node["NodeManagerAddress"])]
    if len(found) != 1:
        living = ", ".join(f"{node['NodeManagerAddress']} ({node['NodeID']})" for node in nodes if node["Alive"])
        raise ConfigError(f"{len(found)} nodes are {wanted}; choose one with --node: {living}")
    if HEAD_RESOURCE.find() in found[0]["Resources"]:
        raise ConfigError("this is the head, which cannot be drained; docs/upgrades.md says how it is restarted")
    return str(found[0]["NodeID"])


def occupation(nodes: list[Told], actors: Any, node_id: str) -> Occupation:
    """From Ray's tables of nodes and actors."""
    is_alive = any(node["Alive"] for node in nodes if node["NodeID"] == node_id)
    left = [
        actor
        for actor in actors
        if actor["Address"]["NodeID"] == node_id
        and actor["State"] == "ALIVE"
        and actor["ActorClassName"] not in _OF_SERVE_ITSELF
    ]
    return Occupation(is_alive, len(left))
