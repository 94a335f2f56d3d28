"""How many target replicas there should be: the policy of `llama4coder.scaling.targets`, as Serve asks it."""

from typing import Any

import msgspec
from ray.serve.config import AutoscalingContext

from cluster.autoscaling import STATE, loads_of, number_of_replicas
from cluster.forecast_file import ForecastFile, ForecastPlace
from cluster.scaling_board import post
from llama4coder.obs.replicas import Pool
from llama4coder.resolved import ResolvedConfig
from llama4coder.scaling.build import target_policy
from llama4coder.scaling.targets import TargetLoad, TargetMoment, TargetPolicy, TargetState

_POLICY = "cluster.target_scaling:TargetScaling"


class TargetScaling:
    """Serve makes one of it in its controller, and calls it several times a second; its state is in Serve's keeping."""

    def __init__(self, policy: Any, forecast: Any = None) -> None:
        self._policy = msgspec.convert(policy, TargetPolicy)
        self._forecast = None if forecast is None else ForecastFile(msgspec.convert(forecast, ForecastPlace))

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """How many, and the state that the next call is given."""
        now_s = context.current_time or 0.0
        moment = TargetMoment(
            now_s=now_s,
            num_wanted=context.target_num_replicas,
            loads=loads_of(context, TargetLoad),
            floor=0 if self._forecast is None else self._forecast.floor(now_s),
        )
        decision = self._policy.decide(context.policy_state.get(STATE) or TargetState(), moment)
        if decision.num_replicas != moment.num_wanted:
            post(context.app_name or "", Pool.TARGET, decision.state.pace.reason)
        return decision.num_replicas, {STATE: decision.state}


def number_of_targets(config: ResolvedConfig) -> dict[str, Any]:
    """Options of the target deployment.

    Raises:
        ConfigError: the forecast cannot be read.
    """
    scaling = config.scaling
    policy = target_policy(scaling, config.target_replicas)
    if scaling.forecast_file is None:
        return number_of_replicas(policy.bounds, _POLICY, policy)
    place = ForecastPlace(scaling.forecast_file, scaling.forecast_zone, scaling.start_time_s, scaling.max_replicas)
    ForecastFile(place).read()
    return number_of_replicas(policy.bounds, _POLICY, policy, forecast=msgspec.to_builtins(place))
