"""Manifests as Kubernetes would get them: overlays built by `kubectl kustomize`, and what tests ask of them."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from cluster.nodes import Node
from tests.support.nodes import node_of

DEPLOY = Path(__file__).parents[2] / "deploy"
OVERLAYS = sorted(path.name for path in (DEPLOY / "kuberay" / "overlays").iterdir())
GPU = "nvidia.com/gpu"
Manifest = dict[str, Any]


def can_build() -> bool:
    """Whether there is a kubectl."""
    return shutil.which("kubectl") is not None


def build(overlay: str) -> list[Manifest]:
    """All objects of an overlay."""
    return build_folder(DEPLOY / "kuberay" / "overlays" / overlay)


def build_folder(folder: Path) -> list[Manifest]:
    """All objects of a kustomization."""
    built = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return list(yaml.safe_load_all(built.stdout))


def one(manifests: Sequence[Manifest], kind: str, name: str | None = None) -> Manifest:
    """The only object of a kind, or of a kind and name."""
    found = [each for each in manifests if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    assert len(found) == 1, f"{kind} {name}: {len(found)}"
    return found[0]


def groups(service: Manifest) -> list[Manifest]:
    """The head group of a RayService and its worker groups."""
    cluster = service["spec"]["rayClusterConfig"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def containers(group: Manifest) -> list[Manifest]:
    """The containers of a group's pods."""
    found: list[Manifest] = group["template"]["spec"]["containers"]
    return found


def pods(manifests: Sequence[Manifest]) -> Iterator[Manifest]:
    """Every pod that the objects lead to, as a Pod."""
    templates = [group["template"] for group in groups(one(manifests, "RayService"))]
    templates += [each["spec"]["template"] for each in manifests if each["kind"] == "StatefulSet"]
    for template in templates:
        yield {"apiVersion": "v1", "kind": "Pod", **template}


def ray_nodes(service: Manifest) -> list[Node]:
    """The Ray nodes that the worker pods are."""
    return [
        node_of(f"{group['groupName']}-{number}", _resources(group), **group["labels"])
        for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        for number in range(group["replicas"])
    ]


def _resources(group: Manifest) -> dict[str, float]:
    limits = containers(group)[0]["resources"]["limits"]
    found = {"CPU": float(limits["cpu"])}
    return found | ({"GPU": float(limits[GPU])} if GPU in limits else {})
