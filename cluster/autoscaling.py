"""What Serve's autoscaling and the pure policies have in common: what Serve is told, and what it tells a policy."""

from dataclasses import asdict, fields
from typing import Any, TypeVar

import msgspec
from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy

from llama4coder.scaling.drafts import DraftLoad
from llama4coder.scaling.targets import TargetLoad
from llama4coder.scaling.types import Bounds

Load = TypeVar("Load", TargetLoad, DraftLoad)

STATE = "state"  # of a policy, in Serve's keeping

_REPORT_PERIOD_S = 1.0  # of a replica
_LOOK_BACK_S = 5.0  # figures are means over so long


def told(load: TargetLoad | DraftLoad) -> dict[str, float]:
    """A replica's answer to Serve's `record_autoscaling_stats`."""
    return {name: float(value) for name, value in asdict(load).items()}


def loads_of(context: AutoscalingContext, kind: type[Load]) -> list[Load]:
    """What the replicas have said of themselves that have said anything."""
    metrics = context.aggregated_metrics or {}
    names = [field.name for field in fields(kind) if field.name in metrics]
    replicas = dict.fromkeys(replica for name in names for replica in metrics[name])
    return [
        kind(**{name: metrics[name][replica] for name in names if replica in metrics[name]}) for replica in replicas
    ]


def number_of_replicas(bounds: Bounds, policy_class: str, policy: object, **more: object) -> dict[str, Any]:
    """Options of a deployment: a fixed number, or the class by which Serve finds it, with what that is made from.

    Serve's own delays are off: the policy has its own, which the simulator can keep, too.
    """
    if bounds.least == bounds.most:
        return {"num_replicas": bounds.most}
    scaling = AutoscalingConfig(
        min_replicas=bounds.least,
        max_replicas=bounds.most,
        metrics_interval_s=_REPORT_PERIOD_S,
        look_back_period_s=_LOOK_BACK_S,
        upscale_delay_s=0.0,
        downscale_delay_s=0.0,
        policy=AutoscalingPolicy(  # type: ignore[no-untyped-call]
            policy_function=policy_class, policy_kwargs={"policy": msgspec.to_builtins(policy), **more}
        ),
    )
    return {"num_replicas": None, "autoscaling_config": scaling}
