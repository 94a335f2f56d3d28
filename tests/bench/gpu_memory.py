"""Whether a GPU's memory lasts: `python -m tests.bench.gpu_memory --shape 70b --quant nf4 --budget 80e9`.

Random weights under a budget, one sequence of the served context, then traffic until blocks run out and requests wait:
nothing may run out of memory, and the peak must stay under the budget. Without `--context` it is the longest that fits,
131,072 tokens at most. Needs what `tests/bench/gpu.py` needs. `--device cpu --shape tiny` tests the benchmark itself.
"""

import argparse
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from llama4coder.config import DeploymentConfig, EngineConfig, KVFormat, ModelConfig, SpeculationConfig
from llama4coder.engine.engine import Engine
from llama4coder.engine.loading_rank import LoadingRank
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.engine.memory_meter import MemoryMeter, meter_for, meter_from_now
from llama4coder.kv.budget import Budget, settle_pool
from llama4coder.kv.demand import Demand
from llama4coder.kv.memory_line import memory_stats, told_memory
from llama4coder.kv.what_fits import longest_context
from llama4coder.layers.kernels import Kernels
from llama4coder.machine import detect_machine
from llama4coder.models.llama import Llama
from llama4coder.models.loader import build_llama
from llama4coder.models.random_weights import SHAPES, RandomWeights
from llama4coder.models.weights import Placement
from llama4coder.obs.stats import MemoryPart, MemoryStats, NullObserver
from llama4coder.parallel.share import RankShare
from llama4coder.resolve import resolve
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import ModelShape
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions
from tests.bench.gpu import TINY_SHAPE
from tests.bench.gpu_report import Report
from tests.bench.measure import markdown_table

_LEAST_CONTEXT = 256
_OUTPUT_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the engine went through."""

    num_requests: int
    most_running: int
    most_waiting: int
    most_used_blocks: int
    num_preemptions: int


def configure(args: argparse.Namespace, shape: ModelShape) -> ResolvedConfig:
    """With the context that was asked for, or the longest that fits."""
    machine = detect_machine(args.device)

    def served(context_length: int) -> ResolvedConfig:
        model = ModelConfig(path="random", quant=args.quant, dtype=args.dtype, context_length=context_length)
        engine = EngineConfig(
            device=args.device,
            memory_budget=int(args.budget),
            kv_memory_bytes=args.kv_bytes or "auto",
            kv_format=args.kv_format,
            max_step_tokens=args.step_tokens,
            host_memory_bytes="auto" if args.host_bytes is None else args.host_bytes,
        )
        config = DeploymentConfig(model=model, engine=engine, speculation=SpeculationConfig(method="ngram"))
        return resolve(config, Path("random"), shape, machine)

    if args.context is not None:
        return served(args.context)
    least = served(_LEAST_CONTEXT)
    wanted = Demand.of_config(least, shape).with_context(shape.max_position)
    room = Budget.of_config(least).room
    return served(shape.max_position if wanted.one_sequence_bytes <= room(wanted) else longest_context(wanted, room))


def run(args: argparse.Namespace, report: Report) -> None:
    """Build, measure, settle, allocate, and serve until requests wait."""
    shape = TINY_SHAPE if args.shape == "tiny" else SHAPES[args.shape]
    # Nobody else is on the GPU: all that is taken of it is ours, its context too, which looking at it makes.
    meter = meter_for(args.device) if args.device == "cuda" else meter_from_now(args.device)
    config, share = configure(args, shape), RankShare.whole(shape)
    context_length = config.model.context_length

    def read(kernels: Kernels, placement: Placement) -> Llama:
        return build_llama(RandomWeights(placement), share, context_length, kernels, placement)

    loading = LoadingRank.build(config, share, meter, read)
    measured = loading.measure()
    settled = settle_pool(config, shape, [measured])
    ready = loading.allocate(settled.engine.num_blocks)
    memory = memory_stats(settled, shape, measured, ready.memory)
    report.say(told_memory(settled, memory))
    engine = Engine(settled, LocalExecutor(ready.runner.launch), NullObserver())
    meter.restart_peak()
    try:
        traffic = [overload(engine, one) for one in (_longest(settled, shape), _many(settled, shape, args.pools))]
    finally:
        engine.close()
    _tell(args, settled, memory, meter, traffic, report)


def overload(engine: Engine, requests: Iterator[GenerateRequest]) -> Traffic:
    """Add requests until some wait for blocks, or there are no more; then run all of them to their ends."""
    num_requests = most_running = most_waiting = most_used = 0
    while True:
        stats = engine.stats()
        most_running, most_waiting = max(most_running, stats.num_running), max(most_waiting, stats.num_waiting)
        most_used = max(most_used, stats.num_used_blocks)
        request = next(requests, None) if stats.num_waiting == 0 else None
        if request is not None:
            engine.check_fits(request)
            engine.add(request)
            num_requests += 1
        if not engine.has_work:
            engine.check_integrity()
            return Traffic(num_requests, most_running, most_waiting, most_used, engine.scheduler.num_preemptions)
        engine.await_turn()
        engine.step()


def _longest(config: ResolvedConfig, shape: ModelShape) -> Iterator[GenerateRequest]:
    """One sequence that fills the context."""
    yield _request("longest", config.model.context_length - _OUTPUT_TOKENS, shape, random.Random(0))


def _many(config: ResolvedConfig, shape: ModelShape, pools: float) -> Iterator[GenerateRequest]:
    """Prompts that together need the pool so many times."""
    chance = random.Random(1)
    left = int(pools * config.engine.num_blocks * config.engine.block_size)
    number = 0
    while left > 0:
        length = chance.randint(16, max(16, min(config.model.context_length // 4, 16384)))
        yield _request(f"many-{number}", length, shape, chance)
        left -= length
        number += 1


def _request(name: str, num_tokens: int, shape: ModelShape, chance: random.Random) -> GenerateRequest:
    tokens = tuple(chance.choices(range(shape.vocab_size), k=num_tokens))
    sampling = SamplingParams(temperature=1.0, top_p=0.95)
    return GenerateRequest(name, tokens, sampling, StopConditions(_OUTPUT_TOKENS), seed=0)


def _tell(
    args: argparse.Namespace,
    config: ResolvedConfig,
    memory: MemoryStats,
    meter: MemoryMeter,
    traffic: Sequence[Traffic],
    report: Report,
) -> None:
    peak_bytes, budget_bytes = meter.peak_bytes(), config.engine.memory_budget_bytes
    report.say(markdown_table(("GB", "predicted", "measured"), [_row(part, memory) for part in MemoryPart]))
    for name, one in zip(("longest", "many"), traffic, strict=True):
        report.add("traffic", name=name, requests=one.num_requests, running=one.most_running, waiting=one.most_waiting)
        report.add("blocks", name=name, used=one.most_used_blocks, of=config.engine.num_blocks)
    report.add(
        "memory",
        model=f"{args.shape} {args.quant}",
        kv_format=config.engine.kv_format,
        context=config.model.context_length,
        budget_gb=budget_bytes / 1e9,
        predicted_gb=sum(memory.predicted.values()) / 1e9,
        peak_gb=peak_bytes / 1e9,
        of_budget_percent=100 * peak_bytes / budget_bytes,
        **_gigabytes("predicted", memory.predicted),
        **_gigabytes("actual", memory.actual),
    )


def _row(part: MemoryPart, memory: MemoryStats) -> list[str]:
    return [part.value, f"{memory.predicted[part] / 1e9:.3f}", f"{memory.actual[part] / 1e9:.3f}"]


def _gigabytes(kind: str, parts: Mapping[MemoryPart, int]) -> dict[str, float]:
    return {f"{kind}_{part.value}_gb": num_bytes / 1e9 for part, num_bytes in parts.items()}


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--shape", choices=("tiny", *SHAPES), default="70b")
    parser.add_argument("--quant", choices=("none", "fp8", "nf4"), default="nf4")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--kv-format", choices=get_args(KVFormat), default="dense")
    parser.add_argument("--budget", type=float, default=80e9, help="bytes")
    parser.add_argument("--kv-bytes", type=int, help="a pool of so much; by default what is left")
    parser.add_argument("--context", type=int)
    parser.add_argument("--step-tokens", type=int, default=4096)
    parser.add_argument("--host-bytes", type=int, help="of the host tier; by default what a deployment would take")
    parser.add_argument("--pools", type=float, default=2.0, help="of prompts in the traffic")
    parser.add_argument("--out", type=Path, help="JSON lines")
    return parser.parse_args(argv)


def main() -> None:
    args = parse()
    run(args, Report(args.out, budget_s=float("inf")))


if __name__ == "__main__":
    main()
