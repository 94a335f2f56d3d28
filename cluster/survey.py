"""What the machines offer that ranks will run on; the process that asks may well run on another one."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.nodes import Node, await_nodes
from cluster.placement import RANK_CPUS
from llama4coder.config import Auto, DeploymentConfig, Device
from llama4coder.machine import Machine, detect_machine


def survey(config: DeploymentConfig) -> Machine:
    """What the weakest machine offers that may get a rank; this one's without Ray.

    Raises:
        ConfigError: no node may get one, though there were `placement.timeout_s` to join.
    """
    device = config.engine.device
    if not ray.is_initialized():
        return detect_machine(device, lends_gpus=True)
    nodes = candidates(config, await_nodes(partial(lack_of_candidates, config), config.placement.timeout_s))
    if [node.node_id for node in nodes] == [ray.get_runtime_context().get_node_id()]:
        return detect_machine(device, lends_gpus=True)
    return weakest(ray.get([_look(node, device) for node in nodes]))


def candidates(config: DeploymentConfig, nodes: Sequence[Node]) -> list[Node]:
    """The nodes that ranks may be placed on; those with GPUs alone if GPUs are asked for, or may be used."""
    fitting = [
        node
        for node in nodes
        if node.has_labels(config.placement.node_labels) and node.total.get("CPU", 0.0) >= RANK_CPUS
    ]
    with_gpus = [node for node in fitting if node.total.get("GPU", 0.0) >= 1]
    if config.engine.device == "cuda" or (config.engine.device == "auto" and with_gpus):
        return with_gpus
    return fitting


def lack_of_candidates(config: DeploymentConfig, nodes: Sequence[Node]) -> str | None:
    """Why no node may get a rank, in one line; None if one may."""
    if candidates(config, nodes):
        return None
    needed = f"{'1 GPU and ' if config.engine.device == 'cuda' else ''}{RANK_CPUS:g} CPU"
    return f"no node can hold a rank, which needs {needed}: {'; '.join(_told(config, node) for node in nodes)}"


def weakest(machines: Sequence[Machine]) -> Machine:
    """What each of them offers at least; a CPU if one of them has nothing else."""
    alike = [machine for machine in machines if machine.device == "cpu"] or machines
    return Machine(
        alike[0].device,
        min(machine.memory_bytes for machine in alike),
        min(machine.num_cpus for machine in alike),
        all(machine.computes_bfloat16 for machine in alike),
        min(machine.host_memory_bytes for machine in alike),
    )


def _look(node: Node, device: Device | Auto) -> "ray.ObjectRef[Machine]":
    """It asks for no GPU of its own, since ranks may have them all; its process ends with it, and all that it holds."""
    there: Any = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    look: Any = ray.remote(num_cpus=0, max_calls=1)(detect_machine)
    found: ray.ObjectRef[Machine] = look.options(scheduling_strategy=there).remote(device, lends_gpus=True)
    return found


def _told(config: DeploymentConfig, node: Node) -> str:
    if not node.has_labels(config.placement.node_labels):
        return f"{node.name} lacks the labels"
    return f"{node.name} has {node.total.get('GPU', 0.0):g} GPU and {node.total.get('CPU', 0.0):g} CPU"
