"""Every name of Ray that is not public and is used nevertheless: the list to go through when Ray is upgraded.

There is no public way to what each does. They are looked up when they are used, and all of them when an application is
built, so that another Ray is refused by a sentence rather than by a traceback somewhere.

What no look-up can find stands where it is used, and its tests run on a real Ray: how Serve names placement groups
(`cluster.nodes`) and its own actors (`cluster.drain_command`), what its details hold (`cluster.scaling_watch`,
`cluster.unplaced`), how it configures HAProxy (`cluster.haproxy_launcher`), and the variables that it reads
(`cluster.env`, `deploy/ray/ray.env`).
"""

from dataclasses import dataclass
from importlib import import_module
from operator import attrgetter
from typing import Any

import ray

from llama4coder.errors import ConfigError

_MADE_FOR = "2.60"


@dataclass(frozen=True, slots=True)
class RayName:
    """`path` in `module`; `use` is what does not work without it."""

    module: str
    path: str
    use: str

    def find(self) -> Any:
        """What the name stands for; raises `ConfigError` if this Ray does not have it."""
        try:
            return attrgetter(self.path)(import_module(self.module))
        except (ImportError, AttributeError):
            raise self._missing() from None

    def of(self, thing: Any) -> Any:
        """What the last part of the name stands for in one instance; raises `ConfigError` like `find`."""
        try:
            return getattr(thing, self.path.rpartition(".")[2])
        except AttributeError:
            raise self._missing() from None

    def _missing(self) -> ConfigError:
        return ConfigError(
            f"Ray {ray.__version__} has no {self.module}.{self.path}, which {self.use} needs: install Ray {_MADE_FOR}, "
            "for which this version of llama4coder is made (constraints.txt names it)"
        )


DEPLOY_START = RayName("ray.serve._private.api", "serve_start", "deploying a Serve config file")
SERVE_CLIENT = RayName("ray.serve.context", "_get_global_client", "knowing where Serve listens")
BUILD_ASGI_APP = RayName("ray.serve._private.replica", "SERVE_BUILD_ASGI_APP_METHOD", "an ingress with its own app")
HAS_TOKENS = RayName(
    "ray._private.authentication.authentication_utils", "is_token_auth_enabled", "refusing a Ray that asks for no token"
)
FREE_BY_NODE = RayName("ray._private.state", "available_resources_per_node", "knowing whether nodes have room")
WORKER = RayName("ray._private.worker", "global_worker", "a replica that knows of its end")
DRAINING_NODES = RayName("ray._raylet", "InnerGcsClient.get_draining_nodes", "a replica that leaves a draining node")
BOARD_PUT = RayName("ray.experimental.internal_kv", "_internal_kv_put", "saying why replicas are scaled")
BOARD_GET = RayName("ray.experimental.internal_kv", "_internal_kv_get", "showing why replicas are scaled")
BOARD_IS_THERE = RayName("ray.experimental.internal_kv", "_internal_kv_initialized", "saying why replicas are scaled")
HEAD_ADDRESS = RayName("ray._private.services", "canonicalize_bootstrap_address_or_die", "finding the head to drain by")
HEAD_RESOURCE = RayName("ray._common.constants", "HEAD_NODE_RESOURCE_NAME", "telling the head from nodes to drain")
HEAD_STATE = RayName("ray._private.state", "GlobalState", "seeing what is left on a draining node")
HEAD_STATE_INIT = RayName("ray._private.state", "GlobalState._initialize_global_state", "asking the head of its nodes")
HEAD_CLIENT = RayName("ray._raylet", "GcsClient", "draining a node")
HEAD_CLIENT_OPTIONS = RayName("ray._raylet", "GcsClientOptions", "asking the head of its nodes")
HEAD_DRAIN = RayName("ray._raylet", "InnerGcsClient.drain_node", "draining a node")
DRAIN_REASON = RayName("ray.core.generated.autoscaler_pb2", "DrainNodeReason", "draining a node")

ALL = (
    DEPLOY_START,
    SERVE_CLIENT,
    BUILD_ASGI_APP,
    HAS_TOKENS,
    FREE_BY_NODE,
    WORKER,
    DRAINING_NODES,
    BOARD_PUT,
    BOARD_GET,
    BOARD_IS_THERE,
    HEAD_ADDRESS,
    HEAD_RESOURCE,
    HEAD_STATE,
    HEAD_STATE_INIT,
    HEAD_CLIENT,
    HEAD_CLIENT_OPTIONS,
    HEAD_DRAIN,
    DRAIN_REASON,
)

# Of instances, which can only be looked at in a replica that starts.
REPLICA_IMPL = RayName("ray.serve._private.replica", "ReplicaActor._replica_impl", "a replica that knows of its end")
IS_STOPPING = RayName("ray.serve._private.replica", "Replica._shutting_down", "a replica that knows of its end")


def check_ray_names() -> None:
    """Raise `ConfigError` for the first that this Ray does not have."""
    for name in ALL:
        name.find()
