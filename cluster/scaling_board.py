"""Why the number of replicas has last changed: said by policies in Serve's controller, read by whoever shows it.

By the cluster's key-value store, since a controller must not wait for a deployment that it controls.
"""

from cluster.ray_names import BOARD_GET, BOARD_IS_THERE, BOARD_PUT
from llama4coder.obs.replicas import Pool
from llama4coder.obs.scaling import ScaleReason

_NAMESPACE = "llama4coder"


def post(app: str, pool: Pool, reason: ScaleReason) -> None:
    """Say it; about a millisecond."""
    if BOARD_IS_THERE.find()():
        BOARD_PUT.find()(_key(app, pool), reason.value, overwrite=True, namespace=_NAMESPACE)


def read(app: str, pool: Pool) -> ScaleReason:
    """What was last said; `START` if nothing was."""
    said: bytes | None = BOARD_GET.find()(_key(app, pool), namespace=_NAMESPACE)
    return ScaleReason(said.decode()) if said else ScaleReason.START


def _key(app: str, pool: Pool) -> str:
    return f"scaling/{app}/{pool.value}"
