"""The node that this process runs on, as Ray knows it."""

from dataclasses import dataclass

import ray


@dataclass(frozen=True, order=True, slots=True)
class Place:
    """Where a process runs; sorts by node, then by device."""

    node_id: str
    address: str
    device: int  # the GPU's number on its node, 0 without one


@dataclass(frozen=True, slots=True)
class RankDevice:
    """What a rank computes on, and where."""

    node_id: str
    name: str  # its maker's


def here() -> Place:
    """That of this process."""
    context = ray.get_runtime_context()
    gpus = context.get_accelerator_ids().get("GPU", [])
    return Place(context.get_node_id(), node_address(), int(gpus[0]) if gpus else 0)


def node_address() -> str:
    """The address by which the other nodes reach this one; loopback if Ray itself is bound to it."""
    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return address
