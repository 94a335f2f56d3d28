"""A running endpoint under loads, and what it adds to the engine alone."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from llama4coder.calibration.endpoint import Endpoint, drive
from llama4coder.calibration.load import Load, LoadTimes, Run, plan_requests, times_of
from llama4coder.calibration.surroundings import ROUNDS, Explained, check_enough, explain
from llama4coder.calibration.task import Task
from llama4coder.planner.calibration import Calibration, ServedLoad, Serving
from llama4coder.planner.replica import Replica
from llama4coder.planner.traffic import Work
from llama4coder.progress import Progress
from llama4coder.simulator.served import ServedReplica

SHARES = (0.3, 0.6)
"""Of what the engine alone could carry."""
_SEEDS = 1000  # of a load: as many runs as nobody makes


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the loads that are measured."""

    prompt_tokens: int
    output_tokens: int
    seconds: float  # of each run

    def works(self) -> tuple[Work, Work]:
        """Long prompts, and many that generate: one load tells slow steps from the other's slow sequences."""
        prompt, output = self.prompt_tokens, self.output_tokens
        return Work(prompt, output), Work(max(1, prompt // 4), 2 * output)


def replica_of(served: ServedReplica, work: Work) -> Replica:
    """What the planner says of a replica."""
    engine = served.config.engine
    most_rows = min(engine.max_sequences, served.num_block_tokens // work.total_tokens)
    return Replica(served.times, work, engine.max_step_tokens, most_rows, front_s=served.front_s)


def loads_for(served: ServedReplica, sizes: Sizes, rates_per_s: Sequence[float]) -> list[Load]:
    """Those that are asked for, or else shares of what the engine alone could carry; every second has short prompts."""
    works = sizes.works()
    if not rates_per_s:
        most = [replica_of(served, work).max_rate_per_s for work in works]
        rates_per_s = [share * rate_per_s for share, rate_per_s in zip(SHARES, most, strict=True)]
    return [
        _load(rate_per_s, sizes.seconds, works[number % len(works)], number)
        for number, rate_per_s in enumerate(rates_per_s)
    ]


def _load(rate_per_s: float, seconds: float, work: Work, number: int) -> Load:
    return Load(rate_per_s, seconds, work.prompt_tokens, work.output_tokens, seed=_SEEDS * number)


def measure_endpoint(
    task: Task, table: Calibration, endpoint: Endpoint, loads: Sequence[Load], num_runs: int, progress: Progress
) -> Calibration:
    """The table with what the endpoint adds to it.

    Raises:
        ConfigError: the endpoint does not answer, or there are fewer than two loads.
    """
    check_enough(len(loads))
    return complete(task, table, loads, measure_in_turns(task, endpoint, loads, num_runs, progress), progress)


def measure_in_turns(
    task: Task, endpoint: Endpoint, loads: Sequence[Load], num_runs: int, progress: Progress
) -> list[list[Run]]:
    """Of each load all its runs, loads in turns, since a machine's speed drifts; raises what `drive` does.

    A run has requests of its own.
    """
    turns = [
        [measure_run(task, endpoint, replace(load, seed=load.seed + number), progress) for load in loads]
        for number in range(num_runs)
    ]
    return [list(runs) for runs in zip(*turns, strict=True)]


def measure_run(task: Task, endpoint: Endpoint, load: Load, progress: Progress) -> Run:
    """Send it, and wait for all of it; raises what `drive` does."""
    requests = plan_requests(load, task.shape.vocab_size)
    progress.start(f"{load.rate_per_s:.3g} requests/s for {load.duration_s:g} s", len(requests), "requests")
    try:
        return asyncio.run(drive(endpoint, requests, progress))
    finally:
        progress.finish()


def complete(
    task: Task, table: Calibration, loads: Sequence[Load], measured: Sequence[Sequence[Run]], progress: Progress
) -> Calibration:
    """The table with what explains the runs of each load."""
    alone = table.model_copy(update={"serving": None})
    progress.start("explaining them", ROUNDS, "rounds")
    try:
        explained = explain(task.served(alone), alone.times.steps, measured, progress)
    finally:
        progress.finish()
    return alone.model_copy(update={"serving": _serving(explained, loads, measured)})


def _serving(explained: Explained, loads: Sequence[Load], measured: Sequence[Sequence[Run]]) -> Serving:
    around = explained.around
    return Serving(
        scale=around.scale,
        row_s=around.row_s,
        front_s=around.front_s,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        loads=tuple(
            _served_load(load, times_of(runs), predicted)
            for load, runs, predicted in zip(loads, measured, explained.predicted, strict=True)
        ),
    )


def _served_load(load: Load, measured: LoadTimes, predicted: LoadTimes) -> ServedLoad:
    return ServedLoad(
        requests_per_s=load.rate_per_s,
        prompt_tokens=load.prompt_tokens,
        output_tokens=load.output_tokens,
        num_requests=measured.num_requests,
        ttft_s=measured.ttft_s,
        itl_s=measured.itl_s,
        predicted_ttft_s=predicted.ttft_s,
        predicted_itl_s=predicted.itl_s,
    )
