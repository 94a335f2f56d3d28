"""Timing the steps of an engine on ranks that are ready."""

from contextlib import closing
from datetime import UTC, datetime

from llama4coder import __version__
from llama4coder.calibration.design import Room, trials
from llama4coder.calibration.engine_run import EngineRun
from llama4coder.calibration.fit import Fit, cells_of, fit_steps
from llama4coder.calibration.ranks import MeasuredRanks
from llama4coder.calibration.recorder import StepRecorder
from llama4coder.calibration.task import Task
from llama4coder.engine.engine import Engine
from llama4coder.planner.calibration import Calibration, Residual, Source, Steps
from llama4coder.progress import Progress


def measure_engine(task: Task, ranks: MeasuredRanks, progress: Progress) -> Calibration:
    """Time an engine's steps, and explain them; closes the ranks' executor.

    Raises:
        ConfigError: there is room for too few kinds of steps.
        EngineDead: a rank has failed.
    """
    recorder = StepRecorder(ranks.executor, ranks.config.engine.block_size)
    with closing(Engine(ranks.config, recorder, recorder)) as engine:
        planned = list(trials(Room.of(ranks.config)))
        progress.start("timing steps", len(planned), "trials")
        try:
            found = EngineRun(engine, recorder, task.shape.vocab_size).run(planned, progress)
        finally:
            progress.finish()
    return _calibration(task, ranks, fit_steps(cells_of([each.steps for each in found])))


def _calibration(task: Task, ranks: MeasuredRanks, fit: Fit) -> Calibration:
    steps, config = fit.steps, ranks.config
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
        machine=ranks.told_devices,
        num_nodes=ranks.num_nodes,
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
