"""A plan as files that serve it: a Ray Serve config, and a KubeRay RayService around the same."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from llama4coder import __version__
from llama4coder.config import (
    DeploymentConfig,
    DraftConfig,
    EngineConfig,
    ModelConfig,
    PlacementConfig,
    PlanConfig,
    PoolConfig,
    ServerConfig,
    SpeculationConfig,
)
from llama4coder.errors import ConfigError
from llama4coder.planner.plan import Plan

SERVE_FILE, SERVICE_FILE = "serve.yaml", "rayservice.yaml"
PORT = 8000
IMPORT_PATH = "cluster.app:build_app"
RAY_VERSION = "2.60.0"
IMAGE = f"llama4coder:{__version__}"
TARGET_POOL, DRAFT_POOL, LABEL = "target", "draft", "pool"

MODELS = "/models"  # where every node has them
SETTINGS = "/etc/llama4coder"  # where every node has the keys
KEYS_SECRET, TOKEN_SECRET = "llama4coder-keys", "llama4coder-ray-token"  # as docs/operations.md makes them

_GPU = "nvidia.com/gpu"
_USER = {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000}
_DRAIN_S = 600
_STOP_S = 660  # for the drain, and what comes after it
_STEP_TIMEOUT_S = 120.0  # of a step of a large model with a full chunk
_CPUS_PER_GPU = 4
_HEAD_CPUS = 4
HEAD_PORTS = {"gcs-server": 6379, "dashboard": 8265, "client": 10001, "serve": PORT}


def emit_plan(plan: Plan, folder: Path) -> None:
    """Write both files.

    Raises:
        ConfigError: the folder cannot be written.
    """
    config = deployment_of(plan)
    write_file(folder / SERVE_FILE, _yaml(serve_file(config)))
    write_file(folder / SERVICE_FILE, _yaml(ray_service(plan, config)))


def write_file(path: Path, content: str) -> None:
    """Write a text, with the folders that are missing. Raises ConfigError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


def deployment_of(plan: Plan) -> DeploymentConfig:
    """What serves exactly this plan."""
    assert plan.fleet is not None, "a plan that fits"
    candidate = plan.fit.candidate
    limits, form = candidate.limits, candidate.form
    is_own = plan.question.stored is not None and plan.question.wish.quant == "auto"  # the checkpoint's
    return DeploymentConfig(
        model=ModelConfig(
            path=candidate.model.path or f"{MODELS}/{candidate.model.name}",
            name=candidate.model.name,
            dtype=form.dtype,
            quant="auto" if is_own else form.quant,
            context_length=limits.context_length,
        ),
        engine=EngineConfig(
            device="cuda",
            ranks=candidate.num_gpus,
            kv_shards=candidate.layout.kv_shards,
            memory_budget=candidate.memory_share,
            max_sequences=limits.max_sequences,
            max_step_tokens=limits.max_step_tokens,
            kv_format=form.kv_format,
            step_timeout_s=_STEP_TIMEOUT_S,
        ),
        placement=PlacementConfig(ranks_per_node=_ranks_per_node(plan), node_labels={LABEL: TARGET_POOL}),
        speculation=_speculation(plan),
        server=ServerConfig(keys_file=f"{SETTINGS}/keys.json"),
        plan=planned(plan),
        target_replicas=plan.fleet.num_targets,
    )


def planned(plan: Plan) -> PlanConfig:
    """What is promised, for the metrics that stand beside the actual ones."""
    fleet, replica = plan.fleet, plan.replica
    assert fleet is not None and replica is not None, "a plan that fits"
    memory = plan.fit.memory
    return PlanConfig(
        requests_per_s=fleet.rate_per_s,
        max_requests_per_s=fleet.num_targets * replica.max_rate_per_s,
        output_tokens_per_s=fleet.output_tokens_per_s,
        target_replicas=fleet.num_targets,
        draft_replicas=fleet.num_drafts,
        sequences=fleet.pace.steady.rows,
        max_sequences=replica.most_rows,
        kv_bytes_per_rank=memory.kv_tails + plan.fit.pool_bytes,
        ttft_s=fleet.pace.ttft.total_s,
        itl_s=fleet.pace.steady.itl_s,
    )


def _speculation(plan: Plan) -> SpeculationConfig:
    assert plan.fleet is not None
    num_guesses, num_drafts = plan.fit.candidate.limits.max_draft_tokens, plan.fleet.num_drafts
    draft = plan.question.draft
    if num_guesses == 0:
        return SpeculationConfig(method="none")
    if draft is None or num_drafts == 0:
        return SpeculationConfig(max_draft_tokens=num_guesses)
    return SpeculationConfig(
        method="pool",
        max_draft_tokens=num_guesses,
        draft=DraftConfig(path=draft.model.path or f"{MODELS}/{draft.model.name}", dtype="bfloat16", quant="none"),
        pool=PoolConfig(min_replicas=num_drafts, max_replicas=num_drafts, node_labels={LABEL: DRAFT_POOL}),
    )


def _ranks_per_node(plan: Plan) -> tuple[int, ...] | None:
    """None where a replica has room on one node."""
    num_ranks, per_node = plan.fit.candidate.num_gpus, plan.question.hardware.gpus_per_node
    if num_ranks <= per_node:
        return None
    full, rest = divmod(num_ranks, per_node)
    return (*[per_node] * full, *([rest] if rest else []))


def serve_file(config: DeploymentConfig) -> Mapping[str, Any]:
    """What `llama4coder serve --config` and `serve deploy` take."""
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": PORT, "keep_alive_timeout_s": 90},
        "logging_config": {"enable_access_log": False, "log_level": "WARNING"},
        "applications": [
            {
                "name": "llama4coder",
                "route_prefix": "/",
                "import_path": IMPORT_PATH,
                "args": config.model_dump(mode="json", exclude_defaults=True),
            }
        ],
    }


def ray_service(plan: Plan, config: DeploymentConfig) -> Mapping[str, Any]:
    """A RayService (KubeRay 1.6: labels of groups, a token from a Secret) with a pod for every node of the plan."""
    assert plan.fleet is not None
    per_node, num_ranks = plan.question.hardware.gpus_per_node, plan.fit.candidate.num_gpus
    if config.placement.ranks_per_node is None:
        on_a_node = min(per_node // num_ranks, plan.fleet.num_targets)
        groups = [_workers(TARGET_POOL, -(-plan.fleet.num_targets // on_a_node), on_a_node * num_ranks)]
    else:
        num_nodes = plan.fleet.num_targets * len(config.placement.ranks_per_node)
        groups = [_workers(TARGET_POOL, num_nodes, per_node)]
    if config.speculation.method == "pool":
        groups.append(_workers(DRAFT_POOL, plan.fleet.num_drafts, 1))
    name = re.sub(r"[^a-z0-9]+", "-", f"llama4coder-{plan.fit.candidate.model.name}".lower()).strip("-")
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": name},
        "spec": {
            "serveConfigV2": _yaml(serve_file(config)),
            "rayClusterConfig": {
                "rayVersion": RAY_VERSION,
                "authOptions": {"mode": "token", "secretName": TOKEN_SECRET},
                "headGroupSpec": _head(),
                "workerGroupSpecs": groups,
            },
        },
    }


def _head() -> Mapping[str, Any]:
    ports = [{"name": name, "containerPort": port} for name, port in HEAD_PORTS.items()]
    container = {"name": "ray-head", "image": IMAGE, "ports": ports, "resources": {"limits": {"cpu": _HEAD_CPUS}}}
    return {"rayStartParams": {"dashboard-host": "0.0.0.0"}, "template": _pod(container)}


def _workers(pool: str, num_nodes: int, num_gpus: int) -> Mapping[str, Any]:
    limits = {_GPU: num_gpus, "cpu": _CPUS_PER_GPU * num_gpus}
    container = {
        "name": "ray-worker",
        "image": IMAGE,
        "ports": [{"name": "serve", "containerPort": PORT}],
        "resources": {"limits": limits},
        "lifecycle": {"preStop": {"exec": {"command": ["llama4coder", "drain", "--timeout-s", str(_DRAIN_S)]}}},
    }
    pod = _pod(container)
    return {
        "groupName": pool,
        "labels": {LABEL: pool},
        "replicas": num_nodes,
        "minReplicas": num_nodes,
        "maxReplicas": num_nodes,
        "rayStartParams": {},
        "template": {"spec": {**pod["spec"], "terminationGracePeriodSeconds": _STOP_S}},
    }


def _pod(container: Mapping[str, Any]) -> Mapping[str, Any]:
    """With the models of the node, the keys, and room for what ranks share."""
    mounts = [
        {"name": "models", "mountPath": MODELS, "readOnly": True},
        {"name": "settings", "mountPath": SETTINGS, "readOnly": True},
        {"name": "shared-memory", "mountPath": "/dev/shm"},
    ]
    volumes = [
        {"name": "models", "hostPath": {"path": MODELS, "type": "Directory"}},
        {"name": "settings", "secret": {"secretName": KEYS_SECRET, "defaultMode": 0o440}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
    ]
    containers = [{**container, "volumeMounts": mounts}]
    return {"spec": {"securityContext": _USER, "containers": containers, "volumes": volumes}}


class _Text(yaml.SafeDumper):
    """Texts of several lines stay lines, and nothing is written by reference."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _as_lines(dumper: yaml.SafeDumper, content: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", content, style="|" if "\n" in content else None)


_Text.add_representer(str, _as_lines)


def _yaml(content: Mapping[str, Any]) -> str:
    return yaml.dump(content, Dumper=_Text, sort_keys=False, allow_unicode=True)
