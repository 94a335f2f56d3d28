"""Which model is measured, and how it is served."""

from dataclasses import dataclass
from pathlib import Path

from llama4coder.config import DeploymentConfig
from llama4coder.kv.demand import Demand
from llama4coder.machine import Machine
from llama4coder.planner.calibration import Calibration, Subject
from llama4coder.progress import Progress
from llama4coder.resolve_folder import resolve_on
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import ModelShape, read_shape
from llama4coder.simulator.served import ServedReplica


@dataclass(frozen=True, slots=True)
class Task:
    """One replica."""

    config: ResolvedConfig
    shape: ModelShape

    @classmethod
    def of(cls, config: DeploymentConfig, machine: Machine, progress: Progress) -> "Task":
        """As a start would have it on machines like this one.

        Raises:
            CheckpointError: there is no such model.
            ConfigError: a combination that cannot work.
            NotEnoughMemory: it does not fit.
        """
        resolved = resolve_on(machine, config, progress)
        return cls(resolved, read_shape(Path(resolved.model.path), resolved.model.rope_scaling))

    @property
    def demand(self) -> Demand:
        return Demand.of_config(self.config, self.shape)

    @property
    def subject(self) -> Subject:
        return Subject.of(self.shape, self.demand.layout, self.demand.form)

    def served(self, calibration: Calibration) -> ServedReplica:
        """The replica for the simulator, on steps that were measured.

        Raises:
            ConfigError: they are those of something else.
        """
        calibration.check(self.subject)
        times = calibration.times
        return ServedReplica(
            config=self.config,
            times=times,
            weight_bytes=self.demand.memory.weights,
            block_move_s=0.0,
            front_s=times.around.front_s,
            name=f"{self.config.model.name} on {calibration.told_machine}",
        )
