"""Loading a model as it would be served, and timing its engine's steps."""

import platform
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import torch

from llama4coder import __version__
from llama4coder.calibration.design import Room, trials
from llama4coder.calibration.engine_run import EngineRun
from llama4coder.calibration.fit import Fit, cells_of, fit_steps
from llama4coder.calibration.recorder import StepRecorder
from llama4coder.calibration.task import Task
from llama4coder.engine.engine import Engine
from llama4coder.engine.loading_rank import load_measured
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.engine.memory_meter import meter_from_now
from llama4coder.errors import ConfigError
from llama4coder.planner.calibration import Calibration, Residual, Source, Steps
from llama4coder.progress import Progress
from llama4coder.resolved import ResolvedConfig

_CPUINFO = Path("/proc/cpuinfo")


def measure_engine(task: Task, progress: Progress) -> Calibration:
    """Load the model, time its steps, and explain them.

    Raises:
        ConfigError: it has several ranks, or room for too few kinds of steps.
        CheckpointError: it cannot be read.
        NotEnoughMemory: it does not fit.
    """
    if task.config.engine.ranks > 1:
        raise ConfigError("only engines of one rank can be calibrated: several need a cluster")
    meter = meter_from_now(task.config.engine.device)
    alone = load_measured(task.config, meter, progress)
    recorder = StepRecorder(LocalExecutor(alone.runner.launch), alone.config.engine.block_size)
    with closing(Engine(alone.config, recorder, recorder)) as engine:
        planned = list(trials(Room.of(alone.config)))
        progress.start("timing steps", len(planned), "trials")
        try:
            found = EngineRun(engine, recorder, task.shape.vocab_size).run(planned, progress)
        finally:
            progress.finish()
    return _calibration(task, alone.config, fit_steps(cells_of([each.steps for each in found])))


def _calibration(task: Task, config: ResolvedConfig, fit: Fit) -> Calibration:
    steps = fit.steps
    residuals = tuple(
        Residual(
            kind=error.kind,
            num_steps=error.num_steps,
            median=error.median,
            largest=error.largest,
            shortest_s=error.shortest_s,
            longest_s=error.longest_s,
        )
        for error in fit.errors
    )
    source = Source(
        model=config.model.name,
        machine=_machine_name(config),
        device=config.engine.device,
        num_threads=config.engine.num_threads,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        num_steps=sum(each.num_steps for each in residuals),
        residuals=residuals,
    )
    table = Steps(
        tokens=tuple(steps.tokens),
        seconds=tuple(steps.seconds),
        sampled_s=steps.sampled_s,
        read_s=steps.read_s,
        reread_s=steps.reread_s,
        pair_s=steps.pair_s,
    )
    return Calibration(subject=task.subject, source=source, steps=table)


def _machine_name(config: ResolvedConfig) -> str:
    if config.engine.device == "cuda":
        return torch.cuda.get_device_name()
    lines = _CPUINFO.read_text().splitlines() if _CPUINFO.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "CPU")
