"""Building the application, without running it."""

from typing import Any

import pytest

from cluster.app import build_app
from cluster.placement import target_bundles, total_cpus
from cluster.settings import parse_args, resolve_here
from llama4coder.config import DeploymentConfig
from llama4coder.errors import ConfigError
from llama4coder.progress import NullProgress


def test_graph_of_deployments(tiny_args: dict[str, Any]) -> None:
    app = build_app(tiny_args | {"ingress_replicas": 2, "target_replicas": 3})
    ingress = app._bound_deployment
    assert ingress.name == "Ingress"
    assert ingress.num_replicas == 2
    init_args: tuple[Any, ...] = ingress.init_args
    _, target, hub = init_args
    assert (target._bound_deployment.name, target._bound_deployment.num_replicas) == ("TargetReplica", 3)
    assert (hub._bound_deployment.name, hub._bound_deployment.num_replicas) == ("MetricsHub", 1)
    assert ingress.max_ongoing_requests > 10_000


def test_builder_accepts_a_config(tiny_args: dict[str, Any]) -> None:
    assert build_app(DeploymentConfig.model_validate(tiny_args))


def test_wrong_value_is_one_line(tiny_args: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"engine\.max_sequences.*; server\.keep_alive_s") as error:
        build_app(tiny_args | {"engine": {"max_sequences": -1}, "server": {"keep_alive_s": 0}})
    assert "\n" not in str(error.value)


def test_placement(tiny_args: dict[str, Any]) -> None:
    config = resolve_here(parse_args(tiny_args), NullProgress())
    assert all(bundle["CPU"] > 0 for bundle in target_bundles(config))
    assert not any("GPU" in bundle for bundle in target_bundles(config))
    on_gpu = config.model_copy(update={"engine": config.engine.model_copy(update={"device": "cuda"})})
    assert target_bundles(on_gpu)[1]["GPU"] == 1
    assert total_cpus(config) == 1
    assert total_cpus(config.model_copy(update={"target_replicas": 8})) > 5
