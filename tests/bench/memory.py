"""What a rank takes beside what was predicted, part by part: `python -m tests.bench.memory [--shape 1b]`.

Each line is a process of its own: a checkpoint in each weight format, then random weights of a large shape.
"""

import argparse
import multiprocessing
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.config import DeploymentConfig, DType, EngineConfig, ModelConfig, QuantFormat
from llama4coder.env import cache_dir
from llama4coder.machine import detect_machine
from llama4coder.models.random_weights import SHAPES
from llama4coder.obs.stats import MemoryPart, MemoryStats
from llama4coder.progress import NullProgress
from llama4coder.resolve import resolve
from llama4coder.shape import ModelShape, read_shape
from tests.bench.measure import describe_machine, markdown_table
from tests.bench.random_checkpoint import write_random

_MIB = 2**20
_KV_BYTES = 512 * _MIB
_FORMS: tuple[tuple[DType, QuantFormat], ...] = (
    ("float32", "none"),
    ("bfloat16", "none"),
    ("bfloat16", "int8"),
    ("bfloat16", "int4"),
)


@dataclass(frozen=True, slots=True)
class Subject:
    """What one process loads."""

    name: str
    folder: Path
    shape: ModelShape
    dtype: DType
    quant: QuantFormat
    context_length: int


def measure(subject: Subject) -> MemoryStats:
    """In a process that has done nothing else."""
    from llama4coder.engine.loading_rank import load_measured
    from llama4coder.engine.memory_meter import meter_for

    model = ModelConfig(
        path=str(subject.folder), dtype=subject.dtype, quant=subject.quant, context_length=subject.context_length
    )
    config = DeploymentConfig(model=model, engine=EngineConfig(device="cpu", kv_memory_bytes=_KV_BYTES))
    resolved = resolve(config, subject.folder, subject.shape, detect_machine("cpu"))
    return load_measured(resolved, meter_for("cpu"), NullProgress()).memory


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--shape", choices=tuple(SHAPES), default="1b")
    parser.add_argument("--context", type=int, default=8192)
    options = parser.parse_args()
    print(describe_machine())
    folder = find_checkpoint(options.model, cache_dir(), NullProgress())
    shape = read_shape(folder)
    context = min(options.context, shape.max_position)
    small = [Subject(options.model, folder, shape, dtype, quant, context) for dtype, quant in _FORMS]
    with tempfile.TemporaryDirectory(dir=cache_dir()) as written:
        large = replace(SHAPES[options.shape], max_position=options.context)
        write_random(Path(written), large)
        subjects = [*small, Subject(options.shape, Path(written), large, "bfloat16", "none", options.context)]
        rows = []
        for subject in subjects:
            rows.append(_row(subject, measure_alone(subject)))
            print(*rows[-1], sep=" | ", flush=True)
        print(markdown_table(_HEADER, rows))


def measure_alone(subject: Subject) -> MemoryStats:
    """By `measure` in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, subject).result()


_PARTS = (MemoryPart.RUNTIME, MemoryPart.WEIGHTS, MemoryPart.BUFFERS, MemoryPart.STEP, MemoryPart.KV)
_HEADER = ("MiB, predicted / measured", *(part.value for part in _PARTS), "all", "weights and KV apart")


def _row(subject: Subject, memory: MemoryStats) -> list[str]:
    both = [memory.predicted, memory.actual]
    lasting = [parts[MemoryPart.WEIGHTS] + parts[MemoryPart.KV] for parts in both]
    return [
        f"{subject.name} {subject.dtype} {subject.quant}",
        *(_told(parts[part] for parts in both) for part in _PARTS),
        _told(sum(parts.values()) for parts in both),
        f"{lasting[1] / lasting[0] - 1:+.1%}",
    ]


def _told(numbers: Iterable[int]) -> str:
    return " / ".join(f"{number / _MIB:.0f}" for number in numbers)


if __name__ == "__main__":
    main()
