"""Which machines decide how ranks are sized."""

from typing import Any

import pytest

from cluster.nodes import Node
from cluster.survey import candidates, lack_of_candidates, weakest
from llama4coder.config import DeploymentConfig
from llama4coder.machine import Machine
from tests.support.nodes import node_of

HEAD = node_of("10.0.0.1", {"CPU": 0.0, "memory": 1e9}, pool="head")
CPUS = node_of("10.0.0.2", {"CPU": 16.0}, pool="front")
GPUS = node_of("10.0.0.3", {"CPU": 64.0, "GPU": 8.0}, pool="target")
NODES = [HEAD, CPUS, GPUS]


def wanted(device: str, **labels: str) -> DeploymentConfig:
    args: dict[str, Any] = {"engine": {"device": device}, "placement": {"node_labels": labels}}
    return DeploymentConfig.model_validate(args)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (wanted("cuda"), [GPUS]),
        (wanted("auto"), [GPUS]),
        (wanted("cpu"), [CPUS, GPUS]),
        (wanted("cpu", pool="front"), [CPUS]),
        (wanted("auto", pool="front"), [CPUS]),
        (wanted("cuda", pool="front"), []),
        (wanted("auto", pool="head"), []),
    ],
)
def test_ranks_may_get_nodes_with_the_device_that_is_wanted(config: DeploymentConfig, expected: list[Node]) -> None:
    assert candidates(config, NODES) == expected
    assert (lack_of_candidates(config, NODES) is None) == bool(expected)


def test_a_gpu_that_ranks_have_now_counts() -> None:
    busy = Node("a", "a", {"CPU": 64.0, "GPU": 8.0}, {}, {})
    assert candidates(wanted("cuda"), [busy]) == [busy]


def test_what_is_missing_is_told_by_node() -> None:
    assert lack_of_candidates(wanted("cuda", pool="front"), NODES) == (
        "no node can hold a rank, which needs 1 GPU and 0.5 CPU: "
        "10.0.0.1 lacks the labels; 10.0.0.2 has 0 GPU and 16 CPU; 10.0.0.3 lacks the labels"
    )


def test_the_weakest_machine_decides() -> None:
    small, large = Machine("cuda", 80, 64, True, 900), Machine("cuda", 140, 32, True, 700)
    assert weakest([small, large]) == Machine("cuda", 80, 32, True, 700)
    assert weakest([small, Machine("cuda", 90, 64, False)]) == Machine("cuda", 80, 64, False)


def test_a_node_whose_gpus_cannot_be_used_leaves_the_cpu() -> None:
    assert weakest([Machine("cuda", 80, 64, True), Machine("cpu", 500, 64, True)]) == Machine("cpu", 500, 64, True)
