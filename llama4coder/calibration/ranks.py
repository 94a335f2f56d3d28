"""The ranks whose steps are measured, wherever they run."""

from collections.abc import Sequence
from dataclasses import dataclass

from llama4coder.engine.executor import Executor
from llama4coder.resolved import ResolvedConfig


@dataclass(frozen=True, slots=True)
class MeasuredRanks:
    """All ranks of a replica, loaded and ready for plans; who drives them closes the executor.

    Opened by `own_rank` in this process, and by `cluster.calibrator` in processes of their own.
    """

    executor: Executor
    config: ResolvedConfig  # with the pool that they have
    devices: Sequence[str]  # what each computes on, by rank
    num_nodes: int = 1

    @property
    def told_devices(self) -> str:
        """Each kind once."""
        return " and ".join(dict.fromkeys(self.devices))
