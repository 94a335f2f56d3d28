"""A plan as files that serve it: a Ray Serve config, and a RayService around the same."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

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
from llama4coder.planner.ray_service import DRAFT_POOL, LABEL, MODELS, PORT, SETTINGS, TARGET_POOL, ray_service

SERVE_FILE, SERVICE_FILE = "serve.yaml", "rayservice.yaml"
IMPORT_PATH = "cluster.app:build_app"
_STEP_TIMEOUT_S = 120.0  # of a step of a large model with a full chunk


def emit_plan(plan: Plan, folder: Path) -> None:
    """Write both files.

    Raises:
        ConfigError: the folder cannot be written.
    """
    config = deployment_of(plan)
    write_file(folder / SERVE_FILE, _yaml(serve_file(config)))
    write_file(folder / SERVICE_FILE, _yaml(ray_service(plan, config, _yaml(serve_file(config)))))


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


class _Text(yaml.SafeDumper):
    """Texts of several lines stay lines, and nothing is written by reference."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _as_lines(dumper: yaml.SafeDumper, content: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", content, style="|" if "\n" in content else None)


_Text.add_representer(str, _as_lines)


def _yaml(content: Mapping[str, Any]) -> str:
    return yaml.dump(content, Dumper=_Text, sort_keys=False, allow_unicode=True)
