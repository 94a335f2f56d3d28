"""The overlays, built: valid for Kubernetes and KubeRay, at one with the code, asking for nothing that is not there."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import ray
import yaml
from ray.serve.schema import ServeDeploySchema

from cluster.exposure import check_exposure
from cluster.placement import draft_resources, target_placement
from cluster.room import shortage
from cluster.serve_file import IMPORT_PATH, ServeFile, read_serve_file
from llama4coder import __version__
from llama4coder.planner import ray_service
from llama4coder.resolved import ResolvedConfig
from llama4coder.server.gate import OPEN_PATHS
from tests.deploy import custom_kinds
from tests.deploy.sizes import SIZES, Size, resolved
from tests.support.manifests import (
    DEPLOY,
    OVERLAYS,
    Manifest,
    build,
    build_folder,
    can_build,
    containers,
    groups,
    one,
    pods,
    ray_nodes,
)
from tests.support.pods import assert_can_do_little

pytestmark = pytest.mark.skipif(not can_build(), reason="there is no kubectl")

KUBERNETES = "1.30"  # unhealthyPodEvictionPolicy is stable since 1.31, and there before
PLACEHOLDER = "llama4coder.example.org"

built = cache(build)


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def manifests(overlay: str) -> list[Manifest]:
    return built(overlay)


@pytest.fixture
def service(manifests: list[Manifest]) -> Manifest:
    return one(manifests, "RayService")


@pytest.fixture
def size(overlay: str) -> Size:
    return SIZES[overlay]


@pytest.fixture
def config(size: Size) -> ResolvedConfig:
    return resolved(size)


def serve_file(size: Size) -> ServeFile:
    return read_serve_file(DEPLOY / "serve" / size.file, None, None)


def test_every_size_has_an_overlay() -> None:
    assert sorted(SIZES) == OVERLAYS


def test_every_object_is_valid(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        if manifest["kind"] in custom_kinds.KINDS:
            assert custom_kinds.unknown_fields(manifest) == []
        else:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_every_pod_is_valid(manifests: list[Manifest]) -> None:
    for pod in pods(manifests):
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize("field", ["replica", "labels_"])
def test_a_field_that_is_none_is_seen(field: str) -> None:
    service = yaml.safe_load(yaml.safe_dump(one(built(OVERLAYS[0]), "RayService")))
    service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0][field] = 1
    assert custom_kinds.unknown_fields(service) == [f"WorkerGroupSpec.{field}"]


def test_it_serves_the_file_of_its_size(service: Manifest, size: Size) -> None:
    assert yaml.safe_load(service["spec"]["serveConfigV2"]) == yaml.safe_load(
        (DEPLOY / "serve" / size.file).read_text()
    )


def test_serve_and_we_accept_the_file(size: Size) -> None:
    file = serve_file(size)
    assert ServeDeploySchema.model_validate(file.content).applications[0].import_path == IMPORT_PATH
    check_exposure(file.host, file.config.server)


def test_there_is_room_for_every_process(service: Manifest, size: Size, config: ResolvedConfig) -> None:
    nodes = ray_nodes(service)
    assert shortage(target_placement(config), config.target_replicas, nodes) is None
    fewer = [node for node in nodes if not node.has_labels(config.placement.node_labels)]
    assert shortage(target_placement(config), config.target_replicas, [*fewer, *nodes[: -len(fewer)][:-1]]) is not None
    assert len([node for node in nodes if node.has_labels(config.placement.front_labels)]) == config.ingress_replicas
    drafts = [node for node in nodes if node.has_labels({ray_service.LABEL: ray_service.DRAFT_POOL})]
    wanted = config.speculation.pool.max_replicas if config.speculation.method == "pool" else 0
    assert len(drafts) == wanted
    for node in drafts:
        assert dict(config.speculation.pool.node_labels) == {ray_service.LABEL: ray_service.DRAFT_POOL}
        assert all(node.total[name] >= amount for name, amount in draft_resources(config).items())
    assert sum(node.total.get("GPU", 0) for node in nodes) == size.num_gpus


def test_pods_run_on_the_gpus_of_their_size(service: Manifest, size: Size) -> None:
    for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
        selector = group["template"]["spec"].get("nodeSelector")
        has_gpus = "nvidia.com/gpu" in containers(group)[0]["resources"]["limits"]
        assert selector == ({"nvidia.com/gpu.product": size.product} if has_gpus else None)


def test_versions_are_ours(service: Manifest) -> None:
    assert service["spec"]["rayClusterConfig"]["rayVersion"] == ray.__version__ == ray_service.RAY_VERSION
    images = {container["image"] for group in groups(service) for container in containers(group)}
    assert images == {f"llama4coder:{__version__}"} == {ray_service.IMAGE}


def test_ports_are_the_codes(manifests: list[Manifest], service: Manifest, size: Size) -> None:
    head, *workers = groups(service)
    ports = {port["name"]: port["containerPort"] for port in containers(head)[0]["ports"]}
    assert ray_service.HEAD_PORTS.items() <= ports.items()
    assert ports["serve"] == serve_file(size).port == ray_service.PORT
    for group in workers:
        assert {port["name"]: port["containerPort"] for port in containers(group)[0]["ports"]} == {
            name: ports[name] for name in ("serve", "metrics")
        }
    assert one(manifests, "Service", "llama4coder")["spec"]["ports"][0]["port"] == ray_service.PORT
    assert service["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"]["redisAddress"] == "redis:6379"
    assert one(manifests, "Service", "redis")["spec"]["ports"][0]["port"] == 6379


def test_probes_ask_for_what_there_is(service: Manifest) -> None:
    front = next(group for group in groups(service) if group.get("groupName") == "front")
    probe = containers(front)[0]["readinessProbe"]["httpGet"]
    assert probe["path"] in OPEN_PATHS and probe["port"] == "serve"
    for group in groups(service):
        assert containers(group)[0]["livenessProbe"]["httpGet"] == {"path": "/api/healthz", "port": 52365}


def test_a_drain_ends_before_the_pod_is_killed(service: Manifest) -> None:
    for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
        if group["groupName"] != ray_service.DRAFT_POOL:  # whose end costs speed, never a token
            *program, seconds = containers(group)[0]["lifecycle"]["preStop"]["exec"]["command"]
            assert program == ["llama4coder", "drain", "--timeout-s"]
            assert int(seconds) < group["template"]["spec"]["terminationGracePeriodSeconds"]


def test_the_head_outlasts_the_drains(service: Manifest) -> None:
    """KubeRay deletes all pods of a cluster at once; a drain without a head fails, and cuts streams."""
    head, *workers = groups(service)
    *program, seconds = containers(head)[0]["lifecycle"]["preStop"]["exec"]["command"]
    assert program == ["llama4coder", "drain", "--others", "--timeout-s"]
    longest = max(each["template"]["spec"]["terminationGracePeriodSeconds"] for each in workers)
    patience = int(service["metadata"]["annotations"]["ray.io/gcs-ft-deletion-timeout"])
    assert int(seconds) < longest <= head["template"]["spec"]["terminationGracePeriodSeconds"] < patience


def test_selectors_find_pods(manifests: list[Manifest], service: Manifest) -> None:
    """With the labels that KubeRay adds to its pods."""
    found = [
        dict(each["spec"]["template"]["metadata"]["labels"]) for each in manifests if each["kind"] == "StatefulSet"
    ]
    for group in groups(service):
        kind = "worker" if "groupName" in group else "head"
        added = {"ray.io/node-type": kind, "ray.io/group": group.get("groupName", "headgroup")}
        found.append({**group["template"]["metadata"]["labels"], **added, "ray.io/is-ray-node": "yes"})
    for manifest in manifests:
        if (selector := _selector(manifest)) is not None:
            assert any(selector.items() <= labels.items() for labels in found), manifest["metadata"]["name"]


def _selector(manifest: Manifest) -> dict[str, str] | None:
    spec = manifest.get("spec", {})
    match manifest["kind"]:
        case "Service":
            return dict(spec["selector"])
        case "PodDisruptionBudget" | "PodMonitor":
            return dict(spec["selector"]["matchLabels"])
        case "NetworkPolicy":
            return dict(spec["podSelector"].get("matchLabels", {}))
        case _:
            return None


def test_a_budget_leaves_something_to_evict(manifests: list[Manifest], service: Manifest, overlay: str) -> None:
    counts = {each["groupName"]: each["replicas"] for each in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]}
    for group in ("front", "target"):
        least = one(manifests, "PodDisruptionBudget", f"llama4coder-{group}")["spec"]["minAvailable"]
        is_whole = overlay == "2x8xh100" and group == "target"  # a replica over both pods
        assert least == counts[group] - (not is_whole)


def test_monitors_and_policies_name_ports_of_containers(manifests: list[Manifest], service: Manifest) -> None:
    names = {port["name"] for group in groups(service) for port in containers(group)[0]["ports"]}
    for manifest in manifests:
        if manifest["kind"] == "PodMonitor":
            assert {each["port"] for each in manifest["spec"]["podMetricsEndpoints"]} <= names
        if manifest["kind"] == "NetworkPolicy":
            rules = [*manifest["spec"].get("ingress", []), *manifest["spec"].get("egress", [])]
            ports = {port["port"] for rule in rules for port in rule.get("ports", [])}
            assert {port for port in ports if isinstance(port, str)} <= names


def test_nobody_may_leave(manifests: list[Manifest]) -> None:
    (policy,) = [each for each in manifests if each["kind"] == "NetworkPolicy" and each["spec"]["podSelector"] == {}]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    for rule in policy["spec"]["egress"]:
        for peer in rule["to"]:
            assert "ipBlock" not in peer
            assert "namespaceSelector" not in peer or rule["ports"] == [
                {"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")
            ]
    others = [each for each in manifests if each["kind"] == "NetworkPolicy" and each is not policy]
    assert all("egress" not in each["spec"] for each in others)


def test_pods_can_do_little(manifests: list[Manifest]) -> None:
    for pod in pods(manifests):
        assert_can_do_little(pod["spec"])


def test_what_may_hold_content_is_in_memory(service: Manifest) -> None:
    for group in groups(service):
        volumes = {volume["name"]: volume for volume in group["template"]["spec"]["volumes"]}
        for mount in containers(group)[0]["volumeMounts"]:
            volume = volumes[mount["name"]]
            if mount["mountPath"] in ("/tmp", "/dev/shm"):
                assert volume["emptyDir"]["medium"] == "Memory" and volume["emptyDir"]["sizeLimit"]
            else:
                assert mount.get("readOnly") or mount["name"] == "cache"
        assert "ulimit -c 0" in containers(group)[0]["args"]
    head = service["spec"]["rayClusterConfig"]["headGroupSpec"]
    assert 'automatic_object_spilling_enabled": false' in head["rayStartParams"]["system-config"]


def test_files_that_the_config_names_are_mounted(service: Manifest, size: Size, config: ResolvedConfig) -> None:
    for group in groups(service):
        mounts = {mount["mountPath"] for mount in containers(group)[0]["volumeMounts"]}
        assert "/etc/llama4coder" in mounts
        assert ray_service.MODELS in mounts
    assert serve_file(size).config.server.keys_file == "/etc/llama4coder/keys.json"


def test_every_reference_resolves(manifests: list[Manifest]) -> None:
    made = {(each["kind"], each["metadata"]["name"]) for each in manifests}
    for kind, name in custom_kinds.references(manifests):
        if kind == "ConfigMap":
            assert (kind, name) in made
        else:
            assert (kind, name) in by_hand(), f"docs/operations.md does not say how {kind} {name} is made"
    assert not [each for each in manifests if each["kind"] == "Secret"], "no secret is in the repository"


def test_keys_of_secrets_are_those_that_are_made(manifests: list[Manifest]) -> None:
    keys = {(name, key) for name, key in custom_kinds.secret_keys(manifests)}
    assert keys == {
        ("llama4coder-redis", "password"),
        ("llama4coder-metrics", "key"),
    }
    page = (DEPLOY.parent / "docs" / "operations.md").read_text()
    for name, key in [*keys, ("llama4coder-ray-token", "auth_token"), ("llama4coder-keys", "keys.json")]:
        assert f"create secret generic {name} --from-file={key}=" in page


def by_hand() -> set[tuple[str, str]]:
    """What the page makes: `create secret KIND NAME`, and the claim that it shows."""
    page = (DEPLOY.parent / "docs" / "operations.md").read_text()
    words = [line.split() for line in page.splitlines() if " create secret " in line]
    made = {("Secret", line[line.index("secret") + 2]) for line in words}
    return made | ({("PersistentVolumeClaim", "llama4coder-models")} if "name: llama4coder-models" in page else set())


def test_a_gateway_in_the_place_of_the_ingress(tmp_path: Path) -> None:
    relative = Path(os.path.relpath(DEPLOY / "kuberay", tmp_path))
    mine = {
        "resources": [str(relative / "overlays" / "cpu-demo")],
        "components": [str(relative / "components" / "gateway")],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(mine))
    manifests = build_folder(tmp_path)
    assert not [each for each in manifests if each["kind"] == "Ingress"]
    (listener,) = one(manifests, "Gateway")["spec"]["listeners"]
    route = one(manifests, "HTTPRoute")["spec"]
    assert [listener["hostname"]] == route["hostnames"] == [PLACEHOLDER]
    (secret,) = listener["tls"]["certificateRefs"]
    assert ("Secret", secret["name"]) in by_hand()
    (backend,) = route["rules"][0]["backendRefs"]
    assert one(manifests, "Service", backend["name"])["spec"]["ports"][0]["port"] == backend["port"]
    assert {each["metadata"].get("namespace") for each in manifests} == {None, "llama4coder"}


def test_only_the_host_is_left_to_say(manifests: list[Manifest]) -> None:
    ingress: dict[str, Any] = one(manifests, "Ingress")["spec"]
    assert ingress["rules"][0]["host"] == PLACEHOLDER == ingress["tls"][0]["hosts"][0]
    others = [each for each in manifests if each["kind"] != "Ingress"]
    assert "example" not in yaml.safe_dump_all(others)
