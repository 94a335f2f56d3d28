"""How the number of replicas follows the load of a simulation."""

from llama4coder.cli.simulate_options import Given
from llama4coder.config import DeploymentConfig, EngineConfig, ScalingConfig
from llama4coder.errors import ConfigError
from llama4coder.resolve_scaling import resolve_scaling
from llama4coder.scaling.build import target_policy
from llama4coder.scaling.forecast import Forecast, parse_forecast
from llama4coder.simulator.mishaps import Starting
from llama4coder.simulator.scaling import FixedScale, OngoingRequests, ProductScale, ScalingPolicy
from llama4coder.simulator.served import ServedReplica


def scaling_of(given: Given, served: ServedReplica) -> ScalingPolicy:
    """What `--max-replicas` and its companions ask for.

    Raises:
        ConfigError: bounds that contradict each other, or a forecast that cannot be read.
    """
    if given.max_replicas is None:
        if given.forecast is not None:
            raise ConfigError("--forecast is of no use while the number of replicas is fixed: give --max-replicas, too")
        return FixedScale(given.replicas)
    if given.max_replicas < given.replicas:
        raise ConfigError(f"--max-replicas {given.max_replicas} is less than --replicas {given.replicas}")
    if given.scaling_policy == "requests":
        return OngoingRequests(given.target_requests, given.replicas, given.max_replicas)
    engine = EngineConfig(max_sequences=given.max_sequences)
    start_s = starting_of(given).provision_s + starting_of(given).reload_s(served.weight_bytes)
    wanted = wanted_scaling(given).model_copy(update={"max_replicas": given.max_replicas, "start_time_s": start_s})
    config = DeploymentConfig(engine=engine, target_replicas=given.replicas, scaling=wanted)
    policy = target_policy(resolve_scaling(config), given.replicas)
    return ProductScale(policy, _forecast(given, given.max_replicas), start_s)


def wanted_scaling(given: Given) -> ScalingConfig:
    """What holds for targets and drafts alike."""
    return ScalingConfig(up_delay_s=given.up_delay, down_delay_s=given.down_delay)


def starting_of(given: Given) -> Starting:
    """How long one more takes until it is there."""
    return Starting(given.provision, given.start, given.storage * 1e9)


def _forecast(given: Given, most: int) -> Forecast:
    if given.forecast is None:
        return Forecast()
    try:
        with given.forecast.open(encoding="utf-8-sig") as lines:
            return parse_forecast(lines, "UTC", most)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--forecast {given.forecast} cannot be read as text: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"--forecast {given.forecast}: {error}") from error
