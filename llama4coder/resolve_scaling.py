"""Between which bounds, and by what, the number of target replicas follows the load."""

import math
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from llama4coder.config import DeploymentConfig, ScalingConfig
from llama4coder.errors import ConfigError
from llama4coder.resolved import ResolvedScaling

_STREAMS_SHARE = 0.75  # of the sequences that a replica's step may hold


def resolve_scaling(config: DeploymentConfig) -> ResolvedScaling:
    """Raises `ConfigError` for bounds that contradict each other, and for a forecast that nothing could follow."""
    wanted, least = config.scaling, config.target_replicas
    most = most_targets(config)
    if most < least:
        raise ConfigError(
            f"scaling.max_replicas ({most}) is less than target_replicas ({least}): raise one, or lower the other"
        )
    _check_forecast(wanted, is_fixed=most == least)
    auto_streams = max(1, math.floor(config.engine.max_sequences * _STREAMS_SHARE))
    streams = auto_streams if wanted.streams_per_replica == "auto" else wanted.streams_per_replica
    derived = {"max_replicas": most, "streams_per_replica": streams}
    return ResolvedScaling.model_validate(wanted.model_dump() | derived)


def most_targets(config: DeploymentConfig) -> int:
    """Target replicas that there may be at once."""
    most = config.scaling.max_replicas
    return config.target_replicas if most == "auto" else most


def _check_forecast(wanted: ScalingConfig, *, is_fixed: bool) -> None:
    if wanted.forecast_file is not None and is_fixed:
        raise ConfigError(
            "scaling.forecast_file is of no use while the number of target replicas is fixed: set scaling.max_replicas "
            "to more than target_replicas, or leave the file out"
        )
    try:
        ZoneInfo(wanted.forecast_zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigError(
            f"scaling.forecast_zone {wanted.forecast_zone!r} is no time zone that this machine knows: write one such "
            f"as Europe/Berlin, or install tzdata"
        ) from error
