"""Whether the nodes of a cluster have room for the target replicas, and what is missing or taken where."""

from collections.abc import Iterable, Sequence

from cluster.nodes import Node
from cluster.placement import Placement, Resources

_SLACK = 1e-6  # of fractions of a CPU that are added up


def shortage(placement: Placement, num_replicas: int, nodes: Sequence[Node]) -> str | None:
    """Why so many replicas cannot be placed, in one line; None if they can."""
    fitting = [node for node in nodes if node.has_labels(placement.labels)]
    left = [dict(node.free) for node in fitting]
    for number in range(1, num_replicas + 1):
        rest = [dict(resources) for resources in left]
        if not _place(placement, rest):
            needed = f"no room for target replica {number} of {num_replicas}: it needs {_needs(placement)}"
            lacks = [
                f"{node.name} {_lacks(placement, free)}{_taken(node)}" for node, free in zip(fitting, left, strict=True)
            ]
            lacks += [f"{node.name} lacks the labels" for node in nodes if node not in fitting]
            return f"{needed}; {'; '.join(lacks) or 'there is no node'}"
        left = rest
    return None


def _place(placement: Placement, left: list[dict[str, float]]) -> bool:
    """Take a replica's resources off what is left, as Ray would; False if they are not there."""
    if placement.strategy == "STRICT_PACK":
        return _take_one(total(placement.bundles), left, range(len(left))) is not None
    free = set(range(len(left)))
    for bundle in sorted(placement.bundles, key=_size, reverse=True):
        node = _take_one(bundle, left, free)
        if node is None:
            return False
        if placement.strategy == "STRICT_SPREAD":
            free.discard(node)
    return True


def _take_one(needed: Resources, left: list[dict[str, float]], candidates: Iterable[int]) -> int | None:
    """Take from the smallest node that has all of it; returns which."""
    enough = [node for node in candidates if not _missing(needed, left[node])]
    if not enough:
        return None
    node = min(enough, key=lambda index: _size(left[index]))
    for name, amount in needed.items():
        left[node][name] -= amount
    return node


def _missing(needed: Resources, free: Resources) -> dict[str, float]:
    return {
        name: amount - free.get(name, 0.0) for name, amount in needed.items() if amount > free.get(name, 0.0) + _SLACK
    }


def total(bundles: Iterable[Resources]) -> dict[str, float]:
    """All of them together."""
    added: dict[str, float] = {}
    for bundle in bundles:
        for name, amount in bundle.items():
            added[name] = added.get(name, 0.0) + amount
    return added


def _size(resources: Resources) -> tuple[float, float]:
    return resources.get("GPU", 0.0), resources.get("CPU", 0.0)


def _needs(placement: Placement) -> str:
    if placement.strategy == "STRICT_PACK":
        needs = f"{_amounts(total(placement.bundles))} on one node"
    elif placement.strategy == "STRICT_SPREAD":
        needs = f"{' and '.join(map(_amounts, placement.bundles))} on a node each"
    else:
        needs = f"{_amounts(total(placement.bundles))} on any nodes"
    labels = ", ".join(f"{name}={value}" for name, value in placement.labels.items())
    return f"{needs} with the labels {labels}" if labels else needs


def _lacks(placement: Placement, free: Resources) -> str:
    needed = placement.bundles[0] if placement.strategy == "STRICT_SPREAD" else total(placement.bundles)
    missing = _missing(needed, free)
    return f"lacks {_amounts(missing)}" if missing else f"has {_amounts(free)}"


def _taken(node: Node) -> str:
    """By others than the replicas in question."""
    taken = _missing(node.total, node.free)
    return f", with {_amounts(taken)} of {_amounts(node.total)} taken" if taken.keys() & {"GPU", "CPU"} else ""


def _amounts(resources: Resources) -> str:
    told = [f"{resources[name]:g} {name}" for name in ("GPU", "CPU") if name in resources]
    return " and ".join(told) or "nothing"
