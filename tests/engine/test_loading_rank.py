"""From weights to a pool: what was measured decides its size, and measuring leaves no trace."""

from pathlib import Path

import pytest

from llama4coder.engine.engine import Engine
from llama4coder.engine.largest_step import largest_steps
from llama4coder.engine.loading_rank import load_measured
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.engine.memory_meter import ResidentMemory, meter_from_now
from llama4coder.errors import NotEnoughMemory
from llama4coder.kv.demand import Demand
from llama4coder.kv.step_sizing import StepLimits, count_bytes
from llama4coder.obs.stats import MemoryPart, NullObserver
from llama4coder.progress import NullProgress
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import read_shape
from tests.support.engines import build_engine, greedy_request, resolved, run_all
from tests.support.models import write_tiny_llama

MIB = 2**20


class FixedMeter:
    """Implements `MemoryMeter`."""

    def __init__(self, now_bytes: int, peak_bytes: int) -> None:
        self._now_bytes, self._peak_bytes = now_bytes, peak_bytes
        self.num_restarts = 0

    def now_bytes(self) -> int:
        return self._now_bytes

    def held_bytes(self) -> int:
        return self._now_bytes

    def restart_peak(self) -> None:
        self.num_restarts += 1

    def peak_bytes(self) -> int:
        return self._peak_bytes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_tiny_llama(folder)
    return folder


def config_of(folder: Path, **engine: object) -> ResolvedConfig:
    return resolved(folder, max_sequences=4, max_step_tokens=64, **engine)


def test_the_pool_takes_exactly_what_the_peak_leaves(folder: Path) -> None:
    config = config_of(folder, memory_budget=600 * MIB)
    meter = FixedMeter(now_bytes=100 * MIB, peak_bytes=150 * MIB)
    alone = load_measured(config, meter, NullProgress())
    shape = read_shape(folder)
    taken = 150 * MIB + count_bytes(shape, 4)
    block_bytes = Demand.of_config(config, shape).block_bytes
    assert alone.config.engine.num_blocks == (600 * MIB - taken) // block_bytes != config.engine.num_blocks
    assert alone.memory.actual[MemoryPart.STEP] == 50 * MIB
    assert alone.memory.actual[MemoryPart.RUNTIME] == 100 * MIB
    assert meter.num_restarts == 1


def test_a_rank_that_took_too_much_does_not_start(folder: Path) -> None:
    config = config_of(folder, memory_budget=600 * MIB)
    with pytest.raises(NotEnoughMemory, match=r"of the 0\.59 GiB that a rank may take, 0\.00 GiB are left"):
        load_measured(config, FixedMeter(100 * MIB, 600 * MIB), NullProgress())


def test_measuring_leaves_no_trace_in_what_is_generated(folder: Path) -> None:
    config = config_of(folder, num_blocks=64)
    requests = [greedy_request(str(number), list(range(3 + number, 40 + 5 * number)), 12) for number in range(5)]
    expected = run_all(build_engine(config), requests)
    alone = load_measured(config, meter_from_now("cpu"), NullProgress())
    assert alone.config == config
    found = run_all(Engine(alone.config, LocalExecutor(alone.runner.launch), NullObserver()), requests)
    assert {name: one.token_ids for name, one in found.items()} == {
        name: one.token_ids for name, one in expected.items()
    }


@pytest.mark.parametrize("kv_shards", [1, 3])
def test_the_largest_steps_reach_every_limit(kv_shards: int) -> None:
    limits = StepLimits(context_length=200, max_sequences=5, max_step_tokens=32, max_draft_tokens=7)
    prompt, decode, verify, score, end = largest_steps(limits, vocab_size=50, kv_shards=kv_shards)
    (row,) = prompt.rows
    assert (row.num_tokens, row.start + row.num_tokens) == (32, 199)
    assert len(row.new_block_ids) * 16 >= 200 and set(row.new_block_ids) == set(range(kv_shards))
    assert decode.num_tokens == len(decode.rows) == 5
    assert verify.num_tokens == sum(row.num_sampled for row in verify.rows) == 32, (
        "as many guesses as there is room for"
    )
    assert max(row.num_known + len(row.draft_token_ids) for row in verify.rows) == 199
    assert score.num_tokens == 32 and len(score.rows) == 5
    assert score.new[0].sampling.num_prompt_logprobs and score.rows[0].num_tokens == 32 - 4
    assert set(end.gone) == {new.seq_id for plan in (prompt, decode, verify) for new in plan.new}
    assert all(seq_id < 0 for seq_id in end.gone)


def test_the_shortest_contexts_have_a_largest_step_too(folder: Path) -> None:
    for context_length in (1, 2, 16):
        config = resolved(folder, num_blocks=8, context_length=context_length, max_sequences=2)
        load_measured(config, FixedMeter(0, 0), NullProgress())


def test_a_peak_is_seen_and_forgotten() -> None:
    meter = ResidentMemory()
    meter.restart_peak()
    before = meter.peak_bytes()
    bytearray(64 * MIB)
    assert meter.peak_bytes() - before > 60 * MIB
    meter.restart_peak()
    assert meter.peak_bytes() - before < 30 * MIB
    assert ResidentMemory(before_bytes=meter.now_bytes()).now_bytes() < 30 * MIB
