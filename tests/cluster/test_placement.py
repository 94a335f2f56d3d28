"""What a target replica asks of the cluster, and which rank is where."""

from typing import Any

from cluster.node import Place
from cluster.placement import target_placement, total_cpus
from cluster.rank_group import in_order
from cluster.settings import parse_args
from llama4coder.machine import detect_machine
from llama4coder.progress import NullProgress
from llama4coder.resolve_folder import resolve_on
from llama4coder.resolved import ResolvedConfig


def resolved(tiny_args: dict[str, Any], **changes: dict[str, Any]) -> ResolvedConfig:
    merged = {name: {**tiny_args.get(name, {}), **changes.get(name, {})} for name in {*tiny_args, *changes}}
    return resolve_on(detect_machine("cpu"), parse_args(merged), NullProgress())


def on_gpus(config: ResolvedConfig) -> ResolvedConfig:
    return config.model_copy(update={"engine": config.engine.model_copy(update={"device": "cuda"})})


def test_a_bundle_for_the_replica_and_one_for_each_rank(tiny_args: dict[str, Any]) -> None:
    config = resolved(tiny_args, engine={"ranks": 2})
    placement = target_placement(config)
    assert len(placement.bundles) == 3
    assert placement.rank_bundles == (1, 2)
    assert placement.strategy == "STRICT_PACK"
    assert all(bundle["CPU"] > 0 and "GPU" not in bundle for bundle in placement.bundles)
    assert [bundle.get("GPU") for bundle in target_placement(on_gpus(config)).bundles] == [None, 1, 1]


def test_ranks_per_node(tiny_args: dict[str, Any]) -> None:
    config = resolved(tiny_args, engine={"ranks": 2}, placement={"ranks_per_node": [1, 1], "node_labels": {"a": "b"}})
    placement = target_placement(on_gpus(config))
    assert placement.strategy == "STRICT_SPREAD"
    assert placement.rank_bundles == (0, 1)
    assert [bundle["GPU"] for bundle in placement.bundles] == [1, 1]
    assert placement.bundles[0]["CPU"] > placement.bundles[1]["CPU"], "the replica itself is there"
    assert placement.labels == {"a": "b"}


def test_total_cpus(tiny_args: dict[str, Any]) -> None:
    config = resolved(tiny_args)
    assert total_cpus(config) == 1
    scaling = config.scaling.model_copy(update={"max_replicas": 8})
    assert total_cpus(config.model_copy(update={"scaling": scaling})) > 5
    assert total_cpus(resolved(tiny_args, engine={"ranks": 2})) == 2


def test_ranks_are_numbered_by_node_and_device_beginning_here() -> None:
    places = [
        Place("b", "10.0.0.2", 1),
        Place("a", "10.0.0.1", 0),
        Place("b", "10.0.0.2", 0),
        Place("c", "10.0.0.3", 0),
    ]
    assert in_order(places, "b") == [2, 0, 1, 3]
    assert in_order([Place("a", "", 0)] * 3, "a") == [0, 1, 2]
