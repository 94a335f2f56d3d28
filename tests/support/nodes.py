"""Nodes of clusters that are not there."""

from cluster.nodes import Node
from cluster.placement import Resources


def node_of(name: str, resources: Resources, **labels: str) -> Node:
    """A node of which nothing is taken."""
    return Node(node_id=name, name=name, total=resources, free=resources, labels=labels)
