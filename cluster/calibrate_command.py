"""`llama4coder calibrate` on ranks in processes of their own, on a Ray of this machine's own or on a running one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from cluster.env import confine_ray
from cluster.phases import Phases
from cluster.placement import total_cpus
from cluster.private_ray import private_folder, private_ray
from cluster.signals import Stopped, signals_held, stoppable
from llama4coder.calibration.task import Task
from llama4coder.config import DeploymentConfig
from llama4coder.machine import Machine, detect_machine
from llama4coder.planner.calibration import Calibration
from llama4coder.progress import Progress


class RayCalibration:
    """Implements `llama4coder.cli.calibrate.Cluster`."""

    def __init__(self, console: Console) -> None:
        self._phases = Phases(console)

    def measure(self, config: DeploymentConfig, address: str | None, progress: Progress) -> Calibration:
        """See `Cluster.measure`."""
        with _exits():
            if address is None:
                return self._measure_here(config, progress)
            return self._measure_there(config, address, progress)

    def machine(self, config: DeploymentConfig, address: str) -> Machine:
        """See `Cluster.machine`."""
        with _exits(), self._joined(address):
            return _survey(config)

    def _measure_here(self, config: DeploymentConfig, progress: Progress) -> Calibration:
        task = Task.of(config, detect_machine(config.engine.device, lends_gpus=True), progress)
        num_cpus = max(os.cpu_count() or 1, total_cpus(task.config))
        with private_folder() as folder:
            confine_ray(folder)
            with private_ray(folder, num_cpus, self._phases):
                return _run(task, progress)

    def _measure_there(self, config: DeploymentConfig, address: str, progress: Progress) -> Calibration:
        with self._joined(address):
            return _run(Task.of(config, _survey(config), progress), progress)

    @contextmanager
    def _joined(self, address: str) -> Iterator[None]:
        with signals_held():
            from cluster.joined_ray import joined_ray
        self._phases.tell(f"joining the Ray at {address}")
        with joined_ray(address):
            yield


@contextmanager
def _exits() -> Iterator[None]:
    try:
        with stoppable():
            yield
    except Stopped as stopped:
        raise typer.Exit(stopped.exit_status) from None


def _survey(config: DeploymentConfig) -> Machine:
    with signals_held():
        from cluster.survey import survey

        return survey(config)


def _run(task: Task, progress: Progress) -> Calibration:
    with signals_held():
        from cluster.calibration_run import run_calibration
    return run_calibration(task, progress)
