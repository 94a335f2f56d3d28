"""Files that a plan emits: read by our own reader and Serve's schema, and resolved to exactly what was planned."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import ray
import yaml

from cluster.exposure import check_exposure
from cluster.placement import draft_resources, target_placement
from cluster.room import shortage
from cluster.serve_file import IMPORT_PATH, read_serve_file
from llama4coder import __version__
from llama4coder.machine import Machine
from llama4coder.planner import emit, ray_service
from llama4coder.planner.candidate import Wish
from llama4coder.planner.gpus import find_gpu
from llama4coder.planner.plan import Plan, make_plan
from llama4coder.planner.question import Draft, Hardware
from llama4coder.planner.shapes import find_model
from llama4coder.resolve import resolve
from llama4coder.resolved import ResolvedConfig
from tests.deploy import custom_kinds
from tests.planner.questions import question
from tests.support.nodes import node_of
from tests.support.pods import assert_can_do_little

PLANS: dict[str, dict[str, Any]] = {
    "two ranks": {},
    "KV in 4 bits": {"wish": Wish(ranks=4, kv_format="int4", max_sequences=128, max_draft_tokens=4)},
    "no guesses": {"wish": Wish(ranks=2, quant="nf4", max_draft_tokens=0, max_step_tokens=2048)},
    "a pool": {"rate_per_s": 1.0, "acceptance": 0.8, "draft": Draft(find_model("llama-3.2-1b"))},
    "two nodes": {"wish": Wish(ranks=16), "hardware": Hardware.of(find_gpu("H100"), 8, 2)},
}


@cache
def made(name: str) -> Plan:
    return make_plan(question(**PLANS[name]))


@pytest.fixture(params=list(PLANS))
def plan(request: pytest.FixtureRequest, tmp_path: Path) -> Plan:
    plan = made(request.param)
    emit.emit_plan(plan, tmp_path / "out")
    return plan


@pytest.fixture
def service(plan: Plan, tmp_path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((tmp_path / "out" / emit.SERVICE_FILE).read_text())
    return content


def resolved(plan: Plan, folder: Path) -> ResolvedConfig:
    config = read_serve_file(folder / "out" / emit.SERVE_FILE, None, None).config
    memory_bytes = plan.fit.candidate.gpu.memory_bytes
    machine = Machine("cuda", memory_bytes, num_cpus=64, computes_bfloat16=True)
    return resolve(config, Path(config.model.path), plan.fit.candidate.model.shape, machine)


def test_it_resolves_to_what_was_planned(plan: Plan, tmp_path: Path) -> None:
    config, fit = resolved(plan, tmp_path), plan.fit
    engine, candidate, fleet = config.engine, fit.candidate, plan.fleet
    assert fleet is not None
    assert engine.num_blocks == fit.num_blocks
    assert engine.weight_bytes_per_rank == fit.memory.weights
    assert engine.other_bytes_per_rank == fit.memory.total - fit.memory.weights
    assert engine.memory_budget_bytes == fit.budget.limit_bytes
    assert (engine.heads_shards, engine.kv_shards) == (candidate.layout.heads_shards, candidate.layout.kv_shards)
    assert (engine.kv_format, config.model.quant) == (candidate.form.kv_format, candidate.form.quant)
    assert (engine.max_sequences, engine.max_step_tokens) == (
        candidate.limits.max_sequences,
        candidate.limits.max_step_tokens,
    )
    assert config.model.context_length == candidate.limits.context_length
    assert config.speculation.most_draft_tokens == candidate.limits.max_draft_tokens
    assert config.target_replicas == fleet.num_targets
    if fleet.num_drafts:
        assert config.speculation.method == "pool"
        assert config.speculation.pool.min_replicas == config.speculation.pool.max_replicas == fleet.num_drafts


def test_its_promises_are_served_with_it(plan: Plan, tmp_path: Path) -> None:
    config, fleet = resolved(plan, tmp_path), plan.fleet
    promised = config.plan
    assert fleet is not None and promised is not None
    assert promised.requests_per_s == fleet.rate_per_s < promised.max_requests_per_s
    assert promised.ttft_s == fleet.pace.ttft.total_s
    assert promised.kv_bytes_per_rank >= config.engine.kv_bytes_per_rank
    assert (promised.target_replicas, promised.draft_replicas) == (fleet.num_targets, fleet.num_drafts)


def test_serve_accepts_it(plan: Plan, tmp_path: Path) -> None:
    from ray.serve.schema import ServeDeploySchema

    file = read_serve_file(tmp_path / "out" / emit.SERVE_FILE, None, None)
    assert (file.host, file.port) == ("0.0.0.0", ray_service.PORT)
    assert ServeDeploySchema.model_validate(file.content).applications[0].import_path == IMPORT_PATH


def test_the_manifest_holds_the_same_application(plan: Plan, service: dict[str, Any], tmp_path: Path) -> None:
    assert (service["apiVersion"], service["kind"]) == ("ray.io/v1", "RayService")
    assert service["metadata"]["name"] == "llama4coder-llama-3-1-70b"
    within = yaml.safe_load(service["spec"]["serveConfigV2"])
    assert within == yaml.safe_load((tmp_path / "out" / emit.SERVE_FILE).read_text())
    cluster = service["spec"]["rayClusterConfig"]
    assert cluster["rayVersion"] == ray.__version__
    ports = {port["name"]: port["containerPort"] for port in containers(cluster["headGroupSpec"])[0]["ports"]}
    assert ports["serve"] == within["http_options"]["port"]
    images = {each["image"] for group in groups(cluster) for each in containers(group)}
    assert images == {f"llama4coder:{__version__}"}


def test_kubernetes_and_kuberay_accept_it(service: dict[str, Any]) -> None:
    assert custom_kinds.unknown_fields(service) == []
    for group in groups(service["spec"]["rayClusterConfig"]):
        kubernetes_validate.validate({"apiVersion": "v1", "kind": "Pod", **group["template"]}, "1.30", strict=True)


def test_its_pods_have_room_for_every_replica(plan: Plan, service: dict[str, Any], tmp_path: Path) -> None:
    config, cluster = resolved(plan, tmp_path), service["spec"]["rayClusterConfig"]
    nodes = [
        node_of(f"{group['groupName']}-{number}", resources(group), **group["labels"])
        for group in cluster["workerGroupSpecs"]
        for number in range(group["replicas"])
    ]
    assert shortage(target_placement(config), config.target_replicas, nodes) is None
    if config.speculation.method == "pool":
        drafts = [node for node in nodes if node.labels == config.speculation.pool.node_labels]
        wanted = draft_resources(config)["GPU"] * config.speculation.pool.max_replicas
        assert sum(node.total["GPU"] for node in drafts) == wanted


def test_pods_mount_the_models_that_the_config_names(plan: Plan, service: dict[str, Any], tmp_path: Path) -> None:
    path = read_serve_file(tmp_path / "out" / emit.SERVE_FILE, None, None).config.model.path
    for group in groups(service["spec"]["rayClusterConfig"]):
        mounts = {mount["mountPath"] for each in containers(group) for mount in each["volumeMounts"]}
        assert str(Path(path).parent) in mounts


def test_pods_can_do_little_and_have_the_claim_of_the_page(service: dict[str, Any]) -> None:
    for group in groups(service["spec"]["rayClusterConfig"]):
        spec = group["template"]["spec"]
        assert_can_do_little(spec)
        claims = {
            each["persistentVolumeClaim"]["claimName"] for each in spec["volumes"] if "persistentVolumeClaim" in each
        }
        assert claims == {ray_service.MODELS_CLAIM}
        assert group["template"]["metadata"]["labels"] == {"app.kubernetes.io/part-of": "llama4coder"}


def test_it_starts_locked(plan: Plan, service: dict[str, Any], tmp_path: Path) -> None:
    """With a token for Ray, and where the keys are, in pods and in the file: without them nothing would start."""
    server = read_serve_file(tmp_path / "out" / emit.SERVE_FILE, None, None).config.server
    check_exposure("0.0.0.0", server)
    cluster = service["spec"]["rayClusterConfig"]
    assert cluster["authOptions"] == {"mode": "token", "secretName": ray_service.TOKEN_SECRET}
    for group in groups(cluster):
        mounts = {mount["mountPath"]: mount["name"] for each in containers(group) for mount in each["volumeMounts"]}
        assert server.keys_file is not None and mounts[str(Path(server.keys_file).parent)] == "settings"
        secrets = [each["secret"] for each in group["template"]["spec"]["volumes"] if "secret" in each]
        assert [each["secretName"] for each in secrets] == [ray_service.KEYS_SECRET]


def test_pods_drain_before_they_stop_and_the_head_last(service: dict[str, Any]) -> None:
    for group in groups(service["spec"]["rayClusterConfig"]):
        *program, seconds = containers(group)[0]["lifecycle"]["preStop"]["exec"]["command"]
        others = [] if "groupName" in group else ["--others"]
        assert program == ["llama4coder", "drain", *others, "--timeout-s"]
        assert int(seconds) < group["template"]["spec"]["terminationGracePeriodSeconds"]


def test_pods_are_probed_without_wget(service: dict[str, Any]) -> None:
    """KubeRay would add a probe that runs wget, which the image has not, and no worker would ever be ready."""
    head, *workers = [containers(group)[0] for group in groups(service["spec"]["rayClusterConfig"])]
    assert head["readinessProbe"]["httpGet"]["path"] == "/api/healthz"
    assert {worker["readinessProbe"]["httpGet"]["path"] for worker in workers} == {"/-/healthz"}
    assert all(each["livenessProbe"]["httpGet"]["path"] == "/api/healthz" for each in [head, *workers])


def test_nothing_of_a_request_reaches_a_disk(service: dict[str, Any]) -> None:
    cluster = service["spec"]["rayClusterConfig"]
    assert 'automatic_object_spilling_enabled": false' in cluster["headGroupSpec"]["rayStartParams"]["system-config"]
    for group in groups(cluster):
        (container,) = containers(group)
        assert container["envFrom"] == [{"configMapRef": {"name": ray_service.ENVIRONMENT}}]
        assert container["args"] == ["ulimit -c 0"]
        volumes = {each["name"]: each for each in group["template"]["spec"]["volumes"]}
        in_memory = {name for name, each in volumes.items() if each.get("emptyDir", {}).get("medium") == "Memory"}
        mounts = {mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] in in_memory}
        assert mounts == {"/tmp", "/dev/shm"}
        written = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert written - mounts == {"/var/cache/llama4coder"}, "converted models; nothing of a request"


def test_a_name_is_one_that_kuberay_takes(tmp_path: Path) -> None:
    plan = made("two ranks")
    model = replace(plan.fit.candidate.model, name="Some.Models/have-very_long-names-" + "x" * 40)
    named = replace(plan, fit=replace(plan.fit, candidate=replace(plan.fit.candidate, model=model)))
    emit.emit_plan(named, tmp_path)
    name = yaml.safe_load((tmp_path / emit.SERVICE_FILE).read_text())["metadata"]["name"]
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])", name)


def groups(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def containers(group: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = group["template"]["spec"]["containers"]
    return found


def resources(group: dict[str, Any]) -> dict[str, float]:
    limits = containers(group)[0]["resources"]["limits"]
    return {"CPU": float(limits["cpu"]), "GPU": float(limits["nvidia.com/gpu"])}
