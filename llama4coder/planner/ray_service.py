"""A plan as a RayService, for KubeRay 1.6 or later (labels of groups, a token from a Secret).

Probes are named, since those that KubeRay adds to workers need wget. A worker is ready once Serve has a proxy there:
KubeRay's Service, which is the clients' here, sends to every worker that is ready.
"""

import re
from collections.abc import Mapping
from typing import Any

from llama4coder import __version__
from llama4coder.config import DeploymentConfig
from llama4coder.planner.plan import Plan

PORT = 8000
RAY_VERSION = "2.60.0"
IMAGE = f"llama4coder:{__version__}"
TARGET_POOL, DRAFT_POOL, LABEL = "target", "draft", "pool"

MODELS = "/models"  # where every node has them
SETTINGS = "/etc/llama4coder"  # where every node has the keys
_CACHE = "/var/cache/llama4coder"  # as the image names it
# As docs/operations.md makes them.
KEYS_SECRET, TOKEN_SECRET, ENVIRONMENT = "llama4coder-keys", "llama4coder-ray-token", "ray-environment"
MODELS_CLAIM = "llama4coder-models"

_LABELS = {"app.kubernetes.io/part-of": "llama4coder"}  # by which network policies and monitors know them
_GPU = "nvidia.com/gpu"
# What the restricted profile of pod security admits, and a root file system that nobody writes.
_USER = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "fsGroup": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_CONFINED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_DRAIN_S = 600
_STOP_S = 660  # for the drain, and what comes after it
_CPUS_PER_GPU = 4
_HEAD_CPUS = 4
_MAX_NAME = 47  # KubeRay's, which appends to it
HEAD_PORTS = {"gcs-server": 6379, "dashboard": 8265, "client": 10001, "serve": PORT}
_NO_SPILLING = "'{\"automatic_object_spilling_enabled\": false}'"
_RAY = {"path": "/api/healthz", "port": 52365}  # of the raylet, and on the head of the GCS
_PROXY = {"path": "/-/healthz", "port": "serve"}


def ray_service(plan: Plan, config: DeploymentConfig, serve_file: str) -> Mapping[str, Any]:
    """A RayService of this Serve file with a pod for every node of the plan."""
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
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": _name(plan.fit.candidate.model.name)},
        "spec": {
            "serveConfigV2": serve_file,
            "rayClusterConfig": {
                "rayVersion": RAY_VERSION,
                "authOptions": {"mode": "token", "secretName": TOKEN_SECRET},
                "headGroupSpec": _head(),
                "workerGroupSpecs": groups,
            },
        },
    }


def _name(model: str) -> str:
    """A DNS label."""
    return re.sub(r"[^a-z0-9]+", "-", f"llama4coder-{model}".lower())[:_MAX_NAME].strip("-")


def _head() -> Mapping[str, Any]:
    ports = [{"name": name, "containerPort": port} for name, port in HEAD_PORTS.items()]
    container = {
        "name": "ray-head",
        "ports": ports,
        "resources": {"limits": {"cpu": _HEAD_CPUS}},
        "readinessProbe": _probe(_RAY, failures=10),
        "lifecycle": _pre_stop("--others"),  # workers that are stopped with it drain by its leave
    }
    start = {"dashboard-host": "0.0.0.0", "system-config": _NO_SPILLING}
    return {"rayStartParams": start, "template": _pod(container)}


def _workers(pool: str, num_nodes: int, num_gpus: int) -> Mapping[str, Any]:
    container = {
        "name": "ray-worker",
        "ports": [{"name": "serve", "containerPort": PORT}],
        "resources": {"limits": {_GPU: num_gpus, "cpu": _CPUS_PER_GPU * num_gpus}},
        "readinessProbe": _probe(_PROXY, failures=1),
        "lifecycle": _pre_stop(),
    }
    return {
        "groupName": pool,
        "labels": {LABEL: pool},
        "replicas": num_nodes,
        "minReplicas": num_nodes,
        "maxReplicas": num_nodes,
        "rayStartParams": {},
        "template": _pod(container),
    }


def _probe(get: Mapping[str, Any], failures: int, initial_s: int = 10) -> Mapping[str, Any]:
    times = {"initialDelaySeconds": initial_s, "periodSeconds": 5, "timeoutSeconds": 5}
    return {"httpGet": get, **times, "failureThreshold": failures}


def _pre_stop(*options: str) -> Mapping[str, Any]:
    return {"preStop": {"exec": {"command": ["llama4coder", "drain", *options, "--timeout-s", str(_DRAIN_S)]}}}


def _pod(container: Mapping[str, Any]) -> Mapping[str, Any]:
    """With models, keys, the environment of all Ray nodes, and memory for Ray's files."""
    mounts = [
        {"name": "models", "mountPath": MODELS, "readOnly": True},
        {"name": "settings", "mountPath": SETTINGS, "readOnly": True},
        {"name": "cache", "mountPath": _CACHE},
        {"name": "ray", "mountPath": "/tmp"},
        {"name": "shared-memory", "mountPath": "/dev/shm"},
    ]
    volumes = [
        {"name": "models", "persistentVolumeClaim": {"claimName": MODELS_CLAIM, "readOnly": True}},
        {"name": "settings", "secret": {"secretName": KEYS_SECRET, "defaultMode": 0o440}},
        {"name": "cache", "emptyDir": {}},
        {"name": "ray", "emptyDir": {"medium": "Memory"}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
    ]
    whole = {
        **container,
        "image": IMAGE,
        "args": ["ulimit -c 0"],
        "envFrom": [{"configMapRef": {"name": ENVIRONMENT}}],
        "livenessProbe": _probe(_RAY, failures=120, initial_s=30),
        "securityContext": _CONFINED,
        "volumeMounts": mounts,
    }
    spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": _STOP_S,
        "securityContext": _USER,
        "containers": [whole],
        "volumes": volumes,
    }
    return {"metadata": {"labels": _LABELS}, "spec": spec}
