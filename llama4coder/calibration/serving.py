"""A running endpoint under loads, and what it adds to the engine alone."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from llama4coder.calibration.endpoint import Endpoint, drive
from llama4coder.calibration.load import Load, LoadTimes, TimedRequest, plan_requests, times_of
from llama4coder.calibration.surroundings import ROUNDS, Explained, explain
from llama4coder.calibration.task import Task
from llama4coder.planner.calibration import Calibration, ServedLoad, Serving
from llama4coder.planner.replica import Replica
from llama4coder.planner.traffic import Work
from llama4coder.progress import Progress
from llama4coder.simulator.served import ServedReplica

SHARES = (0.3, 0.65)
"""Of what the engine alone could carry: two loads that tell slow steps from slow sequences."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the loads that are measured."""

    prompt_tokens: int
    output_tokens: int
    seconds: float


def replica_of(served: ServedReplica, work: Work) -> Replica:
    """What the planner says of a replica."""
    engine = served.config.engine
    most_rows = min(engine.max_sequences, served.num_block_tokens // work.total_tokens)
    return Replica(served.times, work, engine.max_step_tokens, most_rows, front_s=served.front_s)


def loads_for(served: ServedReplica, sizes: Sizes, rates_per_s: Sequence[float]) -> list[Load]:
    """Those that are asked for, or else shares of what the engine alone could carry."""
    if not rates_per_s:
        most = replica_of(served, Work(sizes.prompt_tokens, sizes.output_tokens)).max_rate_per_s
        rates_per_s = [share * most for share in SHARES]
    return [
        Load(rate_per_s, sizes.seconds, sizes.prompt_tokens, sizes.output_tokens, seed=seed)
        for seed, rate_per_s in enumerate(rates_per_s)
    ]


def measure_endpoint(
    task: Task, table: Calibration, endpoint: Endpoint, loads: Sequence[Load], progress: Progress
) -> Calibration:
    """The table with what the endpoint adds to it.

    Raises:
        ConfigError: the endpoint does not answer, or there are fewer than two loads.
    """
    alone = table.model_copy(update={"serving": None})
    served = task.served(alone)
    measured = [measure_load(task, endpoint, load, progress) for load in loads]
    progress.start("explaining them", ROUNDS, "rounds")
    try:
        explained = explain(served, alone.times.steps, measured, progress)
    finally:
        progress.finish()
    return alone.model_copy(update={"serving": _serving(explained, loads, measured)})


def measure_load(task: Task, endpoint: Endpoint, load: Load, progress: Progress) -> list[TimedRequest]:
    """Send it, and wait for all of it; raises what `drive` does."""
    requests = plan_requests(load, task.shape.vocab_size)
    progress.start(f"{load.rate_per_s:.3g} requests/s for {load.duration_s:g} s", len(requests), "requests")
    try:
        return asyncio.run(drive(endpoint, requests, progress))
    finally:
        progress.finish()


def _serving(explained: Explained, loads: Sequence[Load], measured: Sequence[Sequence[TimedRequest]]) -> Serving:
    around = explained.around
    return Serving(
        scale=around.scale,
        row_s=around.row_s,
        front_s=around.front_s,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        loads=tuple(
            _served_load(load, times_of(timed), predicted)
            for load, timed, predicted in zip(loads, measured, explained.predicted, strict=True)
        ),
    )


def _served_load(load: Load, measured: LoadTimes, predicted: LoadTimes) -> ServedLoad:
    return ServedLoad(
        requests_per_s=load.rate_per_s,
        num_requests=measured.num_requests,
        ttft_s=measured.ttft_s,
        itl_s=measured.itl_s,
        predicted_ttft_s=predicted.ttft_s,
        predicted_itl_s=predicted.itl_s,
    )
