"""The policies as Serve asks them: what replicas say of themselves goes in, their number comes out."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest
from ray.serve._private.autoscaling_state import _resolve_policy_callable
from ray.serve.autoscaling_policy import _apply_autoscaling_config
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from cluster.app import build_app
from cluster.autoscaling import told
from cluster.forecast_file import ForecastFile, ForecastPlace
from llama4coder.errors import ConfigError
from llama4coder.scaling.drafts import DraftLoad
from llama4coder.scaling.targets import TargetLoad

SCALING = {"max_replicas": 4, "streams_per_replica": 10, "up_delay_s": 5.0, "down_delay_s": 60.0}


class Controller:
    """Asks a policy as Serve's controller does, with its state, its bounds and its delays."""

    def __init__(self, config: AutoscalingConfig) -> None:
        self.config = config
        self.num = config.min_replicas
        self._policy = _apply_autoscaling_config(_resolve_policy_callable(config.policy))
        self._state: dict[str, Any] = {}
        self._now_s = 1_800_000_000.0

    def ask(self, load: TargetLoad | DraftLoad, seconds: int, num_queued: float = 0.0) -> int:
        """For so long all replicas say the same."""
        for _ in range(seconds):
            self._now_s += 1.0
            self.num, self._state = self._policy(self._context(load, num_queued))
        return self.num

    def _context(self, load: TargetLoad | DraftLoad, num_queued: float) -> AutoscalingContext:
        replicas: list[Any] = [f"replica-{index}" for index in range(self.num)]
        metrics = {name: dict.fromkeys(replicas, value) for name, value in told(load).items()}
        nothing: dict[str, Any] = dict.fromkeys(("deployment_id", "deployment_name", "app_name", "raw_metrics"), None)
        return AutoscalingContext(
            **nothing,
            config=self.config,
            current_num_replicas=self.num,
            target_num_replicas=self.num,
            running_replicas=replicas,
            total_num_requests=num_queued,
            total_queued_requests=num_queued,
            aggregated_metrics=metrics if replicas else {},
            capacity_adjusted_min_replicas=self.config.min_replicas,
            capacity_adjusted_max_replicas=self.config.max_replicas,
            policy_state=self._state.copy(),
            last_scale_up_time=None,
            last_scale_down_time=None,
            current_time=self._now_s,
        )


def deployments(args: dict[str, Any]) -> dict[str, Any]:
    """Those of the target and of the draft pool."""
    target: Any = build_app(args)._bound_deployment.init_args[1]
    drafts: Any = target._bound_deployment.init_args[2]
    return {
        "target": target._bound_deployment,
        "drafts": None if drafts is None else drafts._bound_deployment,
    }


def controller(deployment: Any) -> Controller:
    return Controller(deployment._deployment_config.autoscaling_config)


def test_targets_follow_their_streams(tiny_args: dict[str, Any]) -> None:
    controlled = controller(deployments(tiny_args | {"scaling": SCALING})["target"])
    assert controlled.ask(TargetLoad(num_streams=9), 60) == 1
    assert controlled.ask(TargetLoad(num_streams=19), 5) == 1
    assert controlled.ask(TargetLoad(num_streams=19), 2) == 2
    assert controlled.ask(TargetLoad(num_streams=9.5), 300) == 2
    assert controlled.ask(TargetLoad(kv_share=3.0), 30) == 4
    assert controlled.ask(TargetLoad(num_streams=1), 55) == 4
    assert controlled.ask(TargetLoad(num_streams=1), 10) == 1


def test_a_fixed_number_needs_no_policy(tiny_args: dict[str, Any]) -> None:
    target = deployments(tiny_args | {"target_replicas": 3})["target"]
    assert target.num_replicas == 3
    assert target._deployment_config.autoscaling_config is None


def test_a_forecast_is_a_floor_and_may_change(tiny_args: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "forecast.csv"
    file.write_text("from,until,replicas\n2026-01-01,2126-01-01,3\n")
    scaling = SCALING | {"forecast_file": str(file)}
    controlled = controller(deployments(tiny_args | {"scaling": scaling})["target"])
    assert controlled.ask(TargetLoad(), 10) == 3
    file.write_text("from,until,replicas\n2026-01-01,2126-01-01,4\n")
    os.utime(file, ns=(1, 1))
    assert controlled.ask(TargetLoad(), 20) == 4


def test_what_cannot_be_read_is_told_at_start_and_later_leaves_what_there_was(
    tiny_args: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "forecast.csv"
    scaling = {"scaling": SCALING | {"forecast_file": str(file)}}
    with pytest.raises(ConfigError, match=r"scaling\.forecast_file .*No such file"):
        build_app(tiny_args | scaling)
    file.write_text("from,until,replicas\nnow,then,3\n")
    with pytest.raises(ConfigError, match="line 2 of the forecast: 'now' is no time"):
        build_app(tiny_args | scaling)
    file.write_text("from,until,replicas\n2026-01-01,2126-01-01,5\n")
    with pytest.raises(ConfigError, match="wants 5 replicas where 4 are the most"):
        build_app(tiny_args | scaling)
    file.write_text("\ufefffrom,until,replicas\n2026-01-01,2126-01-01,3\n")  # as spreadsheets write it
    forecast = ForecastFile(ForecastPlace(str(file), "UTC", 0.0, 4))
    assert forecast.floor(1_800_000_000.0) == 3
    file.unlink()
    caplog.set_level(logging.WARNING, "ray.serve")  # where a test before has deployed, it tells errors alone
    assert [forecast.floor(1_800_000_000.0 + later_s) for later_s in (5.0, 20.0, 40.0)] == [3, 3, 3]
    assert caplog.text.count("the forecast before stays") == 1


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        ({"max_replicas": 1}, r"scaling\.max_replicas \(1\) is less than target_replicas \(2\)"),
        ({"forecast_file": "/forecast.csv"}, "is of no use while the number of target replicas is fixed"),
        ({"max_replicas": 3, "forecast_zone": "Europe/Atlantis"}, "'Europe/Atlantis' is no time zone"),
        ({"max_replicas": 3, "kv_share": 1.5}, r"scaling\.kv_share"),
    ],
)
def test_settings_that_make_no_sense_say_what_to_change(
    tiny_args: dict[str, Any], scaling: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build_app(tiny_args | {"target_replicas": 2, "scaling": scaling})


def test_the_pool_follows_its_sessions(tiny_args: dict[str, Any]) -> None:
    draft = {"path": tiny_args["model"]["path"], "kv_memory_bytes": 2**26}
    speculation = {"method": "pool", "draft": draft, "pool": {"min_replicas": 0, "max_replicas": 3}}
    built = deployments(tiny_args | {"speculation": speculation, "scaling": SCALING | {"max_replicas": 1}})
    assert built["target"].num_replicas == 1
    controlled = controller(built["drafts"])
    assert controlled.ask(DraftLoad(), 100) == 0
    assert controlled.ask(DraftLoad(), 1, num_queued=0.5) == 1
    assert controlled.ask(DraftLoad(busy_share=0.9, num_sessions=8), 10) == 2
    assert controlled.ask(DraftLoad(), 70) == 1  # Serve goes to none from one only
    assert controlled.ask(DraftLoad(), 70) == 0
