"""Which model is measured, and how it is served."""

from dataclasses import dataclass

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.checkpoint.stored_quant import read_stored_quant
from llama4coder.config import DeploymentConfig
from llama4coder.env import cache_dir
from llama4coder.kv.demand import Demand
from llama4coder.machine import detect_machine
from llama4coder.planner.calibration import Calibration, Subject
from llama4coder.progress import Progress
from llama4coder.resolve import resolve
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import ModelShape, read_shape
from llama4coder.simulator.served import ServedReplica


@dataclass(frozen=True, slots=True)
class Task:
    """One replica on this machine."""

    config: ResolvedConfig
    shape: ModelShape

    @classmethod
    def of(cls, config: DeploymentConfig, progress: Progress) -> "Task":
        """As a start would have it here.

        Raises:
            CheckpointError: there is no such model.
            ConfigError: a combination that cannot work.
            NotEnoughMemory: it does not fit.
        """
        folder = find_checkpoint(config.model.path, cache_dir(), progress)
        shape = read_shape(folder, config.model.rope_scaling)
        machine = detect_machine(config.engine.device)
        return cls(resolve(config, folder, shape, machine, read_stored_quant(folder)), shape)

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
            name=f"{self.config.model.name} on {calibration.source.machine}",
        )
