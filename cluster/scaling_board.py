"""Why the number of replicas has last changed: said by policies in Serve's controller, read by whoever shows it.

By the cluster's key-value store, since a controller must not wait for a deployment that it controls.
"""

from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_initialized, _internal_kv_put

from llama4coder.obs.replicas import Pool
from llama4coder.obs.scaling import ScaleReason

_NAMESPACE = "llama4coder"


def post(app: str, pool: Pool, reason: ScaleReason) -> None:
    """Say it; about a millisecond."""
    if _internal_kv_initialized():  # type: ignore[no-untyped-call]
        _internal_kv_put(_key(app, pool), reason.value, overwrite=True, namespace=_NAMESPACE)


def read(app: str, pool: Pool) -> ScaleReason:
    """What was last said; `START` if nothing was."""
    said = _internal_kv_get(_key(app, pool), namespace=_NAMESPACE)
    return ScaleReason(said.decode()) if said else ScaleReason.START


def _key(app: str, pool: Pool) -> str:
    return f"scaling/{app}/{pool.value}"
