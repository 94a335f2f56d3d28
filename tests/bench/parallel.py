"""What several ranks cost and save: step time, our channel's share of it, messages, and memory per rank.

Usage: python -m tests.bench.parallel [--model FOLDER] [--ranks 1,2,3] [--dtype bfloat16]

Ranks are processes on this machine's cores; with fewer cores than ranks they compete, and more ranks are slower.
"""

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from cluster.channel.executor import ZmqExecutor
from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.config import DeploymentConfig, DType, EngineConfig, ModelConfig
from llama4coder.engine.plan import NewSequence, StepPlan, StepRow
from llama4coder.env import cache_dir
from llama4coder.kv.sizing import BLOCK_SIZE, DTYPE_BYTES
from llama4coder.machine import detect_machine
from llama4coder.progress import NullProgress
from llama4coder.resolve import resolve
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import ModelShape, read_shape
from llama4coder.types import SamplingParams
from tests.bench.measure import describe_machine, markdown_table
from tests.support.process_group import running_ranks

_NUM_SEQUENCES = 32
_PROMPT_TOKENS = 128
_NUM_STEPS = 40
_KV_BYTES = 256 * 2**20
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class _StepTimes:
    """Of a decoding step as the engine sees it, and what of it is not the model's and the sampler's.

    Medians where each step waits for the one before, as with guesses; and the mean of steps that are sent ahead.
    """

    step_s: float
    channel_s: float
    channel_ahead_s: float


def main() -> None:
    """Print a table with a line per number of ranks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--ranks", default="1,2,3")
    parser.add_argument("--dtype", default="bfloat16", choices=tuple(DTYPE_BYTES))
    options = parser.parse_args()
    folder = find_checkpoint(options.model, cache_dir(), NullProgress())
    print(describe_machine(), f"{options.dtype}, {_NUM_SEQUENCES} sequences after {_PROMPT_TOKENS} tokens", sep="\n")
    rows = [_measure(folder, int(number), options.dtype) for number in options.ranks.split(",")]
    print(markdown_table(_HEADER, rows))


_HEADER = (
    *("ranks", "step ms", "of it channel ms", "and sent ahead", "sent per token"),
    *("memory per rank MB", "as planned MB", "apart"),
)


def _measure(folder: Path, num_ranks: int, dtype: DType) -> list[str]:
    config = _config(folder, num_ranks, dtype)
    engine = config.engine
    with running_ranks(config) as ranks:
        executor = ZmqExecutor([rank.endpoint for rank in ranks], config.engine.heartbeat_timeout_s)
        times = _step_times(executor, config)
        executor.close()
    planned = engine.weight_bytes_per_rank + engine.kv_bytes_per_rank
    measured = max(rank.loaded_bytes for rank in ranks)
    return [
        f"{num_ranks} ({engine.heads_shards} x {engine.kv_shards})",
        f"{1000 * times.step_s:.2f}",
        f"{1000 * times.channel_s:.2f}",
        f"{1000 * times.channel_ahead_s:.2f}",
        f"{_sent_bytes_per_token(read_shape(folder), num_ranks, dtype) / 1000:.0f} kB",
        f"{measured / 1e6:.0f}",
        f"{planned / 1e6:.0f}",
        f"{measured / planned - 1:+.1%}",
    ]


def _config(folder: Path, num_ranks: int, dtype: DType) -> ResolvedConfig:
    engine = EngineConfig(ranks=num_ranks, kv_memory_bytes=_KV_BYTES, max_step_tokens=4096)
    model = ModelConfig(path=str(folder), dtype=dtype, context_length=1024)
    return resolve(DeploymentConfig(model=model, engine=engine), folder, read_shape(folder), detect_machine())


def _step_times(executor: ZmqExecutor, config: ResolvedConfig) -> _StepTimes:
    blocks = -(-(_PROMPT_TOKENS + 2 * _NUM_STEPS + 2) // BLOCK_SIZE)
    new, prompts = [], []
    for seq_id in range(_NUM_SEQUENCES):
        tokens = tuple(range(seq_id, seq_id + _PROMPT_TOKENS))
        new.append(NewSequence(seq_id, tokens, _PROMPT_TOKENS, SamplingParams(), seq_id, 0, ()))
        held = _block_ids(seq_id, blocks, config.engine.kv_shards)
        prompts.append(StepRow(seq_id, 0, _PROMPT_TOKENS, held, samples=True))
    executor.submit(StepPlan(0, (), tuple(new), tuple(prompts)))
    executor.collect(_TIMEOUT_S)
    steps, rest = [], []
    for step_id in range(1, _NUM_STEPS):
        started_s = time.perf_counter()
        executor.submit(_decode_plan(step_id))
        result = executor.collect(_TIMEOUT_S)
        steps.append(time.perf_counter() - started_s)
        rest.append(steps[-1] - result.model_time_s)
    return _StepTimes(statistics.median(steps), statistics.median(rest), _channel_ahead_s(executor))


def _channel_ahead_s(executor: ZmqExecutor) -> float:
    """With two plans under way, as the engine has them."""
    executor.submit(_decode_plan(_NUM_STEPS))
    executor.submit(_decode_plan(_NUM_STEPS + 1))
    executor.collect(_TIMEOUT_S)
    started_s, model_s = time.perf_counter(), 0.0
    for step_id in range(_NUM_STEPS + 2, 2 * _NUM_STEPS):
        executor.submit(_decode_plan(step_id))
        model_s += executor.collect(_TIMEOUT_S).model_time_s
    elapsed_s = time.perf_counter() - started_s
    executor.collect(_TIMEOUT_S)
    return (elapsed_s - model_s) / (_NUM_STEPS - 2)


def _decode_plan(step_id: int) -> StepPlan:
    start = _PROMPT_TOKENS + step_id - 1
    rows = (StepRow(seq_id, start, 1, (), samples=True) for seq_id in range(_NUM_SEQUENCES))
    return StepPlan(step_id, (), (), tuple(rows))


def _block_ids(seq_id: int, num_blocks: int, kv_shards: int) -> tuple[int, ...]:
    """Blocks of its own, each on the shard that its place asks for."""
    rounded = -(-num_blocks // kv_shards) * kv_shards
    return tuple(range(seq_id * rounded, seq_id * rounded + num_blocks))


def _sent_bytes_per_token(shape: ModelShape, num_ranks: int, dtype: DType) -> float:
    """By each rank: the embedding and two sums per layer, each of which sends 2 (n - 1) / n of what is summed."""
    sums = 2 * shape.num_layers + 1
    return 2 * (num_ranks - 1) / num_ranks * sums * shape.hidden_size * DTYPE_BYTES[dtype]


if __name__ == "__main__":
    main()
