"""The Serve application: what `import_path: cluster.app:build_app` of a Serve config file means."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import ray
from ray import serve
from ray.serve import Application
from ray.serve.config import RequestRouterConfig

from cluster.draft_loading import check_draft
from cluster.draft_pool import draft_deployment
from cluster.exposure import check_exposure, check_ray
from cluster.ingress import Ingress
from cluster.metrics_hub import MetricsHub
from cluster.nodes import await_nodes, free_nodes
from cluster.placement import HUB_CPUS, INGRESS_CPUS, REPLICA_CPUS, Placement, target_placement, uses_pool
from cluster.ray_names import HAS_TOKENS, SERVE_CLIENT, check_ray_names
from cluster.room import shortage, total
from cluster.scaling_watch import ScalingWatch
from cluster.settings import parse_args
from cluster.survey import survey
from cluster.target import TargetReplica
from cluster.target_scaling import number_of_targets
from llama4coder.checkpoint.fingerprint import fingerprint
from llama4coder.config import DeploymentConfig
from llama4coder.progress import NullProgress
from llama4coder.resolve_folder import resolve_on
from llama4coder.resolved import ResolvedConfig
from llama4coder.telemetry.build import check_telemetry

_MAX_ONGOING_REQUESTS = 100_000  # the engine's own bounded queue decides who waits and who is refused
_HEALTH_CHECK_PERIOD_S = 1.0  # three failures in a row replace a replica
_HEALTH_CHECK_TIMEOUT_S = 10.0
_SHUTDOWN_TIMEOUT_S = 20.0  # beside what a replica has to drain
_DEREGISTER_S = 30.0  # that Serve keeps an ingress open for HAProxy, whatever there is to do
_DRAIN_POLL_S = 0.5
_ONE_MORE = 1  # percent of replicas that an update may start before it stops others; rounded up to one
_REQUEST_ROUTER = "cluster.request_router:DirectedRequestRouter"
_QUIET = {"enable_access_log": False, "log_level": "WARNING"}
_TOLD = {"enable_access_log": False, "log_level": "INFO"}  # how a start goes on

_log = logging.getLogger("ray.serve")  # the one that Serve writes to its files


def build_app(args: Mapping[str, object] | DeploymentConfig) -> Application:
    """Build the deployments of one model.

    Raises:
        ConfigError: one line that says what to change.
    """
    check_ray_names()
    wanted = parse_args(args)
    host = _http_host()
    if host is not None:
        check_exposure(host, wanted.server)
        check_ray(host, is_locked=HAS_TOKENS.find()())
    config = resolve_on(survey(wanted), wanted, NullProgress())
    check_draft(config)
    check_telemetry(config.telemetry)
    _log.info("resolved configuration: %s", config.model_dump_json())
    front = config.placement.front_labels
    own = fingerprint(config)
    hub = serve.deployment(**_options(1, HUB_CPUS, front))(MetricsHub).bind(
        partial(ScalingWatch, {TargetReplica.__name__: total(target_placement(config).bundles)})
    )
    drafts = draft_deployment(config, _options(1, 0, {})).bind(config, hub) if uses_pool(config) else None
    target = _target(config).bind(config, hub, drafts, own)
    return _ingress(config).bind(config, target, hub, own)


def _http_host() -> str | None:
    """Where Serve listens, if it does."""
    client = SERVE_CLIENT.find()(raise_if_no_controller_running=False) if ray.is_initialized() else None
    return None if client is None else client.http_config.host


def _target(config: ResolvedConfig) -> serve.Deployment:
    placement = target_placement(config)
    if ray.is_initialized():
        await_nodes(partial(shortage, placement, config.target_replicas), config.placement.timeout_s)
    options = _options(config.target_replicas, REPLICA_CPUS, {}) | {"logging_config": _TOLD} | number_of_targets(config)
    options |= _drained(config.engine.drain_timeout_s) | _replaced_first(placement)
    if placement.labels:
        options["placement_group_bundle_label_selector"] = [dict(placement.labels)] * len(placement.bundles)
    return serve.deployment(
        placement_group_bundles=[dict(bundle) for bundle in placement.bundles],
        placement_group_strategy=placement.strategy,
        request_router_config=RequestRouterConfig(request_router_class=_REQUEST_ROUTER),  # type: ignore[arg-type]
        **options,
    )(TargetReplica)


def _ingress(config: ResolvedConfig) -> serve.Deployment:
    front = config.placement.front_labels
    options = _options(config.ingress_replicas, INGRESS_CPUS, front)
    options |= _drained(config.server.drain_timeout_s + _DEREGISTER_S)
    options |= _replaced_first(Placement(({"CPU": INGRESS_CPUS},), "PACK", front, ()))
    return serve.deployment(**options)(serve.ingress()(Ingress))


def _drained(timeout_s: float) -> dict[str, Any]:
    return {
        "graceful_shutdown_timeout_s": timeout_s + _SHUTDOWN_TIMEOUT_S,
        "graceful_shutdown_wait_loop_s": _DRAIN_POLL_S,
    }


def _replaced_first(placement: Placement) -> dict[str, Any]:
    """An update starts a new replica before it stops an old one, if there is room for one more now: else it would wait
    for room for ever."""
    has_room = ray.is_initialized() and shortage(placement, 1, free_nodes()) is None
    return {"max_surge_percent": _ONE_MORE} if has_room else {}


def _options(num_replicas: int, num_cpus: float, labels: Mapping[str, str]) -> dict[str, Any]:
    selector = {"label_selector": dict(labels)} if labels else {}
    return {
        "num_replicas": num_replicas,
        "ray_actor_options": {"num_cpus": num_cpus, **selector},
        "max_ongoing_requests": _MAX_ONGOING_REQUESTS,
        "health_check_period_s": _HEALTH_CHECK_PERIOD_S,
        "health_check_timeout_s": _HEALTH_CHECK_TIMEOUT_S,
        "graceful_shutdown_timeout_s": _SHUTDOWN_TIMEOUT_S,
        "logging_config": _QUIET,
    }
