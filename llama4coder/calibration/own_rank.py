"""The only rank of a replica, in this process."""

from llama4coder.calibration.ranks import MeasuredRanks
from llama4coder.engine.loading_rank import load_measured
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.engine.memory_meter import meter_from_now
from llama4coder.machine import device_name
from llama4coder.progress import Progress
from llama4coder.resolved import ResolvedConfig


def open_own_rank(config: ResolvedConfig, progress: Progress) -> MeasuredRanks:
    """Load the model as it would be served.

    Raises:
        CheckpointError: it cannot be read.
        NotEnoughMemory: it does not fit.
    """
    assert config.engine.ranks == 1, "several ranks have processes of their own"
    device = config.engine.device
    alone = load_measured(config, meter_from_now(device), progress)
    return MeasuredRanks(LocalExecutor(alone.runner.launch), alone.config, [device_name(device)])
