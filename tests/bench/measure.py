"""What every benchmark prints beside its figures: the machine, the commit, and the floor."""

import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch


def describe_machine(num_threads: int | None = None) -> str:
    """Processor, threads (torch's if not given), torch and commit, as one line."""
    models = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    processor = models[0] if models else platform.processor()
    return (
        f"{processor}, {num_threads or torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"commit {commit.stdout.strip() or 'unknown'}"
    )


def read_bandwidth_bytes_per_s() -> float:
    """How fast all threads together read memory that no cache holds; the best of five."""
    block = torch.ones(2**28, dtype=torch.int8).view(torch.int64)
    return max(block.nbytes / timed(lambda: block.max()) for _ in range(5))


def timed(call: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    start_s = time.perf_counter()
    call()
    return time.perf_counter() - start_s


def interleaved(calls: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of each measurement, taken in turns so that a noisy minute hits all of them."""
    values: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            values[name].append(call())
    return {name: statistics.median(taken) for name, taken in values.items()}


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as RESULTS.md holds it."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
