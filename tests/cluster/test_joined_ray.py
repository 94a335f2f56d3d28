"""Addresses at which there is no Ray to join; what joins one is in `test_calibrate`."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from cluster.calibrate_command import RayCalibration
from cluster.joined_ray import joined_ray
from cluster.signals import stoppable
from llama4coder.config import DeploymentConfig, EngineConfig, ModelConfig
from llama4coder.errors import ConfigError
from llama4coder.progress import NullProgress


@pytest.fixture
def free_port() -> Iterator[int]:
    """Nobody listens at it, and nobody else can."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.mark.parametrize(
    "address", ["nonsense", "127.0.0.1", "127.0.0.1:http", ":6379", "127.0.0.1:70000", "ray://a:1"]
)
def test_no_address(address: str) -> None:
    with stoppable(), pytest.raises(ConfigError, match=r"no Ray can be joined at .* --address HOST:PORT"):
        with joined_ray(address):
            pytest.fail("it was joined")


def test_nobody_listens(free_port: int) -> None:
    calibration = RayCalibration(Console(quiet=True))
    with pytest.raises(ConfigError, match=f"no Ray can be joined at 127.0.0.1:{free_port}: .*refused"):
        calibration.measure(DeploymentConfig(), f"127.0.0.1:{free_port}", NullProgress())
    with pytest.raises(ConfigError, match="no Ray can be joined"):
        calibration.machine(DeploymentConfig(), f"127.0.0.1:{free_port}")


def test_what_is_wrong_is_said_before_there_is_a_ray(checkpoint: Path) -> None:
    config = DeploymentConfig(model=ModelConfig(path=str(checkpoint)), engine=EngineConfig(ranks=3, kv_shards=1))
    with pytest.raises(ConfigError, match="3 ranks cannot be laid out with 1 KV shards"):
        RayCalibration(Console(quiet=True)).measure(config, None, NullProgress())
