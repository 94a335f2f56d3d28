"""A calibration held against a running server: loads that it has not seen, measured, simulated and planned.

    .venv/bin/python -m tests.bench.calibration [--quant none] [--seconds 20] [--runs 5] [--most 6] [--keep FILE]

An engine alone is calibrated (`llama4coder calibrate`), then the real server with the embedded model is started. Two
loads calibrate it, others of other rates, lengths and shared prefixes are what the table is held against; all come in
turns, since the speed of a machine drifts: in each of `--runs` rounds every load has requests of its own for
`--seconds`, by chance and over real sockets. The table is made of the two loads' runs alone. The simulator then gets
the other requests at the times when they were sent; the planner only rate, mean lengths and shares, and it plans means.
Needs a quiet machine: everything here takes part in what is measured.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from llama4coder.calibration.endpoint import Endpoint
from llama4coder.calibration.load import Load, LoadTimes, Run, times_of
from llama4coder.calibration.serving import Sizes, complete, loads_for, measure_in_turns, measure_run, replica_of
from llama4coder.calibration.surroundings import predict
from llama4coder.calibration.task import Task
from llama4coder.cli.calibrate_view import view
from llama4coder.cli.progress import RichProgress
from llama4coder.config import DeploymentConfig
from llama4coder.machine import detect_machine
from llama4coder.planner.calibration import read_calibration
from llama4coder.planner.replica import Pace
from llama4coder.planner.traffic import Work
from llama4coder.simulator.served import ServedReplica
from tests.bench.measure import describe_machine, markdown_table
from tests.support.live_server import live_server

MODEL = "smollm2-135m-instruct"
CONTEXT, SEQUENCES = 4096, 32
SIZES = Sizes(prompt_tokens=256, output_tokens=48, seconds=1.0)  # of the two loads that calibrate
GOAL = 0.1
_SEED = 1_000_000  # of a load that is held out
HEADER = ("load", "rho", "requests", "of", "TTFT mean ms", "TTFT p50 ms", "ITL mean ms", "tokens/s")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A load that the table has not seen; `share` is of the rate that the engine alone keeps up with."""

    name: str
    share: float
    work: Work

    def load(self, alone: ServedReplica, seconds: float, seed: int) -> Load:
        work = self.work
        rate_per_s = self.share * replica_of(alone, work).max_rate_per_s
        return Load(rate_per_s, seconds, work.prompt_tokens, work.output_tokens, work.shared_prefix, seed=seed)


HELD_OUT = (
    HeldOut("same lengths", 0.45, Work(256, 48)),
    HeldOut("same lengths", 0.7, Work(256, 48)),
    HeldOut("long prompts", 0.55, Work(768, 32)),
    HeldOut("long outputs", 0.6, Work(128, 128)),
    HeldOut("3/4 shared", 0.55, Work(768, 48, 0.75)),
    HeldOut("half shared", 0.7, Work(512, 32, 0.5)),
)


@dataclass(frozen=True, slots=True)
class Compared:
    """One load, as it was and as it was said to be."""

    held_out: HeldOut
    rho: float  # of what a replica carries, as the table has it
    measured: LoadTimes
    simulated: LoadTimes
    planned: Pace | None

    def rows(self) -> Iterator[list[str]]:
        measured = self.measured
        first = [self.held_out.name, f"{self.rho:.2f}", str(measured.num_requests)]
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
        task = Task.of(DeploymentConfig.model_validate(args), detect_machine(), RichProgress())
        with live_server(args) as server:
            compared = _compare(options, task, Endpoint(f"{server.url}/v1", MODEL), table)
    print(markdown_table(list(HEADER), [row for each in compared for row in each.rows()]))
    _tell_misses(compared)


def _calibrate_engine(quant: str, table: Path) -> None:
    """In a process of its own, whose threads and memory are gone before the server starts."""
    command = [sys.executable, "-m", "cluster", "calibrate", "embedded", "--out", str(table), "--quant", quant]
    subprocess.run([*command, "--context", str(CONTEXT), "--max-sequences", str(SEQUENCES)], check=True)


def _compare(options: argparse.Namespace, task: Task, endpoint: Endpoint, table: Path) -> list[Compared]:
    progress, alone = RichProgress(), read_calibration(table)
    known = loads_for(task.served(alone), replace(SIZES, seconds=options.seconds), ())
    chosen = HELD_OUT[: options.most]
    unknown = [one.load(task.served(alone), options.seconds, _SEED * (1 + place)) for place, one in enumerate(chosen)]
    measure_run(task, endpoint, replace(known[0], duration_s=options.warmup, seed=-1), progress)
    runs = measure_in_turns(task, endpoint, [*known, *unknown], options.runs, progress)
    calibration = complete(task, alone, known, runs[: len(known)], progress)
    calibration.write(table)
    Console(width=120).print(view(calibration))
    served = task.served(calibration)
    names = [*("calibrates" for _ in known), *(one.name for one in chosen)]
    header = ["TTFT, ITL of run", *(str(1 + number) for number in range(options.runs))]
    simulated = [[predict(served, run) for run in those] for those in runs]
    both = zip(names, runs, simulated, strict=True)
    print(markdown_table(header, [_by_run(name, those, predicted) for name, those, predicted in both]))
    held_out = zip(chosen, unknown, runs[len(known) :], simulated[len(known) :], strict=True)
    compared = []
    for one, load, those, predicted in held_out:
        replica = replica_of(served, one.work)
        rho, planned = load.rate_per_s / replica.max_rate_per_s, replica.at(load.rate_per_s)
        compared.append(Compared(one, rho, times_of(those), times_of(predicted), planned))
    return compared


def _numbers(times: LoadTimes) -> list[float]:
    return [times.ttft_s, times.ttft_p50_s, times.itl_s, times.tokens_per_s]


def _by_run(name: str, runs: Sequence[Run], predicted: Sequence[Run]) -> list[str]:
    """How far each run is from what is simulated of it: whether that changes from round to round, or with the load."""
    cells = [name]
    for run, same in zip(runs, predicted, strict=True):
        measured, simulated = times_of([run]), times_of([same])
        cells.append(f"{simulated.ttft_s / measured.ttft_s - 1:+.0%}, {simulated.itl_s / measured.itl_s - 1:+.0%}")
    return cells


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
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run of a load")
    parser.add_argument("--runs", type=int, default=5, help="of each load")
    parser.add_argument("--warmup", type=float, default=6.0)
    parser.add_argument("--most", type=int, default=len(HELD_OUT), help="loads that are held out")
    parser.add_argument("--keep", type=Path, help="where the table stays")
    return parser.parse_args()


if __name__ == "__main__":
    main()
