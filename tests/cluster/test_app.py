"""Building the application, without running it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cluster.app import build_app
from cluster.draft_loading import check_draft
from llama4coder.config import DeploymentConfig
from llama4coder.errors import ConfigError
from llama4coder.machine import Machine
from llama4coder.progress import NullProgress
from llama4coder.resolve_folder import resolve_on


def test_graph_of_deployments(tiny_args: dict[str, Any]) -> None:
    app = build_app(tiny_args | {"ingress_replicas": 2, "target_replicas": 3})
    ingress = app._bound_deployment
    assert ingress.name == "Ingress"
    assert ingress.num_replicas == 2
    init_args: tuple[Any, ...] = ingress.init_args
    _, target, hub, own = init_args
    assert target._bound_deployment.init_args[2] is None, "no draft pool"
    assert (target._bound_deployment.name, target._bound_deployment.num_replicas) == ("TargetReplica", 3)
    assert (hub._bound_deployment.name, hub._bound_deployment.num_replicas) == ("MetricsHub", 1)
    assert own.model and own == target._bound_deployment.init_args[3]
    assert ingress.max_ongoing_requests > 10_000


def test_builder_accepts_a_config(tiny_args: dict[str, Any]) -> None:
    assert build_app(DeploymentConfig.model_validate(tiny_args))


def test_wrong_value_is_one_line(tiny_args: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"engine\.max_sequences.*; server\.keep_alive_s") as error:
        build_app(tiny_args | {"engine": {"max_sequences": -1}, "server": {"keep_alive_s": 0}})
    assert "\n" not in str(error.value)


def test_target_is_placed_as_configured(tiny_args: dict[str, Any]) -> None:
    placement = {"strategy": "PACK", "node_labels": {"pool": "target"}, "front_labels": {"pool": "front"}}
    app = build_app(tiny_args | {"engine": {"ranks": 2}, "placement": placement})
    ingress = app._bound_deployment
    assert ingress.ray_actor_options["label_selector"] == {"pool": "front"}
    target = ingress.init_args[1]._bound_deployment
    config = target._replica_config
    assert config.placement_group_strategy == "PACK"
    assert len(config.placement_group_bundles) == 3
    assert config.placement_group_bundle_label_selector == [{"pool": "target"}] * 3


def test_a_draft_pool_has_its_own_resources(tiny_args: dict[str, Any]) -> None:
    pool = {"min_replicas": 1, "max_replicas": 3, "cpus_per_replica": 1.5, "node_labels": {"pool": "draft"}}
    speculation = {"method": "pool", "draft": {"path": tiny_args["model"]["path"]}, "pool": pool}
    app = build_app(tiny_args | {"speculation": speculation})
    target: Any = app._bound_deployment.init_args[1]
    drafts: Any = target._bound_deployment.init_args[2]._bound_deployment
    assert drafts.name == "DraftReplica"
    assert drafts.ray_actor_options["num_cpus"] == 1.5
    assert drafts.ray_actor_options["label_selector"] == {"pool": "draft"}
    scaling = drafts._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (1, 3)


def test_a_draft_model_with_other_tokens_is_refused(tiny_args: dict[str, Any], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_args["model"]["path"], other)
    file = other / "tokenizer.json"
    content = json.loads(file.read_text())
    vocabulary = content["model"]["vocab"]
    first, second = list(vocabulary)[10:12]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="other tokens than the target: 2 of"):
        build_app(tiny_args | {"speculation": {"method": "pool", "draft": {"path": str(other)}}})
    assert build_app(tiny_args | {"speculation": {"method": "ngram", "draft": {"path": str(other)}}})


def test_drafting_beside_a_target_on_gpus_is_refused(tiny_args: dict[str, Any]) -> None:
    draft = {"path": tiny_args["model"]["path"]}
    wanted = DeploymentConfig.model_validate(tiny_args | {"speculation": {"method": "local", "draft": draft}})
    config = resolve_on(Machine("cpu", 2**33, num_cpus=2, computes_bfloat16=False), wanted, NullProgress())
    check_draft(config)
    on_gpus = config.model_copy(update={"engine": config.engine.model_copy(update={"device": "cuda"})})
    with pytest.raises(ConfigError, match="use pool"):
        check_draft(on_gpus)
