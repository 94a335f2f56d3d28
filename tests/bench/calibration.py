"""A calibration held against a running server: loads that it has not seen, measured, simulated and planned.

    .venv/bin/python -m tests.bench.calibration [--quant none] [--seconds 32] [--calibration-seconds 45] [--repeats 2]
        [--keep FILE]

An engine alone is calibrated (`llama4coder calibrate`), then the real server with the embedded model is started, and
two loads on it complete the table (`--url`). Loads of other rates, lengths and shared prefixes follow: requests come by
chance, over real sockets. The simulator gets the same requests at the times when they were sent; the planner only rate,
mean lengths and shares, and it plans means. Needs a quiet machine: everything here takes part in what is measured.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from llama4coder.calibration.endpoint import Endpoint
from llama4coder.calibration.load import Load, LoadTimes, times_of
from llama4coder.calibration.serving import SHARES, Sizes, loads_for, measure_endpoint, measure_load, replica_of
from llama4coder.calibration.surroundings import predict
from llama4coder.calibration.task import Task
from llama4coder.cli.calibrate_view import view
from llama4coder.cli.progress import RichProgress
from llama4coder.config import DeploymentConfig
from llama4coder.planner.calibration import read_calibration
from llama4coder.planner.replica import Pace
from llama4coder.planner.traffic import Work
from llama4coder.simulator.served import ServedReplica
from tests.bench.measure import describe_machine, markdown_table
from tests.support.live_server import live_server

MODEL = "smollm2-135m-instruct"
CONTEXT, SEQUENCES = 4096, 32
SIZES = (256, 48)  # tokens of the two loads that calibrate
GOAL = 0.1
HEADER = ("load", "rho", "requests", "of", "TTFT mean ms", "TTFT p50 ms", "ITL mean ms", "tokens/s")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A load that the table has not seen; `rho` is its share of the rate that a replica keeps up with."""

    name: str
    rho: float
    work: Work

    def load(self, served: ServedReplica, seconds: float, seed: int) -> Load:
        rate_per_s = self.rho * replica_of(served, self.work).max_rate_per_s
        work = self.work
        return Load(rate_per_s, seconds, work.prompt_tokens, work.output_tokens, work.shared_prefix, seed=seed)


HELD_OUT = (
    HeldOut("same lengths", 0.5, Work(*SIZES)),
    HeldOut("same lengths", 0.8, Work(*SIZES)),
    HeldOut("long prompts", 0.6, Work(768, 32)),
    HeldOut("long outputs", 0.7, Work(64, 96)),
    HeldOut("3/4 shared", 0.6, Work(768, 48, 0.75)),
    HeldOut("half shared", 0.8, Work(512, 32, 0.5)),
)


@dataclass(frozen=True, slots=True)
class Compared:
    """One load, as it was and as it was said to be."""

    held_out: HeldOut
    measured: LoadTimes
    simulated: LoadTimes
    planned: Pace | None

    def rows(self) -> Iterator[list[str]]:
        measured = self.measured
        first = [self.held_out.name, f"{self.held_out.rho:g}", str(measured.num_requests)]
        yield [*first, "server", *_cells(_numbers(measured))]
        yield ["", "", "", "simulator", *_cells(_numbers(self.simulated), _numbers(measured))]
        if self.planned is not None:
            ttft_s, itl_s = self.planned.ttft.total_s, self.planned.steady.itl_s
            yield ["", "", "", "planner", *_cells([ttft_s, None, itl_s, None], _numbers(measured))]

    def errors(self) -> Sequence[float]:
        """Of the simulator: TTFT mean and p50, ITL, tokens/s."""
        pairs = zip(_numbers(self.simulated), _numbers(self.measured), strict=True)
        return [predicted / measured - 1 for predicted, measured in pairs]


def main() -> None:
    options = _parse()
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"{MODEL}, quant {options.quant}, {describe_machine()}, load average before: {load}")
    args = {
        "model": {"path": "embedded", "name": MODEL, "quant": options.quant, "context_length": CONTEXT},
        "engine": {"max_sequences": SEQUENCES},
    }
    with tempfile.TemporaryDirectory(prefix="calibration-") as folder:
        table = options.keep or Path(folder) / "table.yaml"
        _calibrate_engine(options.quant, table)
        task = Task.of(DeploymentConfig.model_validate(args), RichProgress())
        with live_server(args) as server:
            compared = list(_compare(options, task, Endpoint(f"{server.url}/v1", MODEL), table))
    print(markdown_table(list(HEADER), [row for each in compared for row in each.rows()]))
    _tell_misses(compared)


def _calibrate_engine(quant: str, table: Path) -> None:
    """In a process of its own, whose threads and memory are gone before the server starts."""
    command = [sys.executable, "-m", "cluster", "calibrate", "embedded", "--out", str(table), "--quant", quant]
    subprocess.run([*command, "--context", str(CONTEXT), "--max-sequences", str(SEQUENCES)], check=True)


def _compare(options: argparse.Namespace, task: Task, endpoint: Endpoint, table: Path) -> Iterator[Compared]:
    progress = RichProgress()
    alone = read_calibration(table)
    measure_load(task, endpoint, Load(1.0, options.warmup, *SIZES, seed=-1), progress)
    loads = loads_for(task.served(alone), Sizes(*SIZES, options.calibration_seconds), ())
    calibration = measure_endpoint(task, alone, endpoint, loads, progress)
    calibration.write(table)
    Console(width=120).print(view(calibration))
    print(f"calibrated at {', '.join(f'{share:g}' for share in SHARES)} of what the engine alone carries", flush=True)
    served = task.served(calibration)
    for seed in range(options.repeats):
        for number, held_out in enumerate(HELD_OUT[: options.most]):
            load = held_out.load(served, options.seconds, 1000 + 100 * seed + number)
            timed = measure_load(task, endpoint, load, progress)
            planned = replica_of(served, held_out.work).at(load.rate_per_s)
            yield Compared(held_out, times_of(timed), predict(served, timed), planned)


def _numbers(times: LoadTimes) -> list[float]:
    return [times.ttft_s, times.ttft_p50_s, times.itl_s, times.tokens_per_s]


def _cells(numbers: Sequence[float | None], beside: Sequence[float] | None = None) -> list[str]:
    """Milliseconds, and tokens/s as they are; with their errors where there is something beside them."""
    cells = []
    for place, number in enumerate(numbers):
        shown = "" if number is None else f"{number * (1 if place == len(numbers) - 1 else 1e3):.1f}"
        error = "" if number is None or beside is None else f" ({number / beside[place] - 1:+.1%})"
        cells.append(shown + error)
    return cells


def _tell_misses(compared: Sequence[Compared]) -> None:
    names = ("TTFT mean", "TTFT p50", "ITL mean", "tokens/s")
    for place, name in enumerate(names):
        errors = [each.errors()[place] for each in compared]
        num_within = sum(abs(error) <= GOAL for error in errors)
        worst = max(errors, key=abs)
        print(f"simulator, {name}: {num_within} of {len(errors)} loads within {GOAL:.0%}, the worst {worst:+.1%}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quant", default="none")
    parser.add_argument("--seconds", type=float, default=32.0, help="of each load that is held out")
    parser.add_argument("--calibration-seconds", type=float, default=45.0)
    parser.add_argument("--warmup", type=float, default=6.0)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--most", type=int, default=len(HELD_OUT), help="loads that are held out")
    parser.add_argument("--keep", type=Path, help="where the table stays")
    return parser.parse_args()


if __name__ == "__main__":
    main()
