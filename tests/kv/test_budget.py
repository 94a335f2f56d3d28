"""What is left under a budget, and what is said where it is too little: each number in it is true."""

from dataclasses import replace
from pathlib import Path

import pytest

from llama4coder.config import DeploymentConfig, EngineConfig, ModelConfig, SpeculationConfig
from llama4coder.errors import NotEnoughMemory
from llama4coder.kv.budget import Budget, settle_pool
from llama4coder.kv.demand import Demand
from llama4coder.kv.memory_line import memory_stats, told_memory
from llama4coder.kv.rank_memory import LoadedMemory, PoolMemory
from llama4coder.kv.step_sizing import ServedForm, StepLimits
from llama4coder.kv.what_fits import fewest_ranks, fitting_formats, longest_context
from llama4coder.machine import Machine
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.resolve import resolve
from llama4coder.resolved import ResolvedConfig
from tests.support.shapes import LLAMA_8B, LLAMA_70B

GIB, MIB = 2**30, 2**20
GPU = Machine("cuda", 80 * GIB, num_cpus=16, computes_bfloat16=True)
LIMITS = StepLimits(context_length=131072, max_sequences=64, max_step_tokens=512, max_draft_tokens=0)
WEIGHTS_IN_8_BITS = Demand.of(LLAMA_70B, ParallelLayout(), ServedForm("bfloat16", "fp8", "dense", "cuda"), LIMITS)


def served(**engine: object) -> ResolvedConfig:
    config = DeploymentConfig(
        model=ModelConfig(path="/models/8b", quant="fp8"),
        engine=EngineConfig(**engine),
        speculation=SpeculationConfig(method="none"),
    )
    return resolve(config, Path("/models/8b"), LLAMA_8B, GPU)


def loaded(config: ResolvedConfig, more_bytes: int = 0) -> LoadedMemory:
    """As predicted, and some more."""
    memory = Demand.of_config(config, LLAMA_8B).memory
    return LoadedMemory(memory.runtime, memory.weights, memory.buffers, memory.step + more_bytes)


def test_what_is_suggested_fits_and_a_block_more_does_not() -> None:
    budget = Budget(80 * GIB, None, 1)
    assert WEIGHTS_IN_8_BITS.one_sequence_bytes == 40 * GIB > budget.left(WEIGHTS_IN_8_BITS)
    longest = longest_context(WEIGHTS_IN_8_BITS, budget.room)
    assert longest % 16 == 0 and 0 < longest < 131072
    fitting, failing = WEIGHTS_IN_8_BITS.with_context(longest), WEIGHTS_IN_8_BITS.with_context(longest + 16)
    assert fitting.one_sequence_bytes <= budget.left(fitting)
    assert failing.one_sequence_bytes > budget.left(failing)
    layout = fewest_ranks(WEIGHTS_IN_8_BITS, budget.room)
    assert layout == ParallelLayout(2, 1)
    assert Budget(80 * GIB, None, 2).num_blocks(WEIGHTS_IN_8_BITS.with_layout(layout)) >= 131072 // 16


def test_only_formats_that_hold_the_context_are_named() -> None:
    demand = WEIGHTS_IN_8_BITS.with_context(32768)  # 10 GiB dense, half of it in 8 bits, a quarter in 4
    others = demand.memory.total
    assert fitting_formats(demand, Budget(others + 6 * GIB, None, 1).room) == ("fp8", "int8", "int4")
    assert fitting_formats(demand, Budget(others + 4 * GIB, None, 1).room) == ("int4",)
    assert fitting_formats(demand, Budget(others + 2 * GIB, None, 1).room) == ()


def test_a_start_that_fails_says_what_would_fit() -> None:
    with pytest.raises(NotEnoughMemory) as caught:
        Budget(80 * GIB, None, 1).num_blocks(WEIGHTS_IN_8_BITS)
    text = str(caught.value)
    longest = longest_context(WEIGHTS_IN_8_BITS, Budget(80 * GIB, None, 1).room)
    assert text.startswith("of the 80.00 GiB that a rank may take, ") and "\n" not in text
    assert "one sequence of 131072 tokens (40.00 GiB on a rank)" in text
    assert f"it would fit with model.context_length {longest}, or with engine." in text
    assert text.endswith("or with engine.ranks 2 (heads shards x KV shards: 2 x 1)")


def test_a_budget_below_the_weights_has_nothing_to_suggest_but_ranks() -> None:
    with pytest.raises(NotEnoughMemory, match=r"0\.00 GiB are left beside 66\.\d\d GiB of weights") as caught:
        Budget(60 * GIB, None, 1).num_blocks(WEIGHTS_IN_8_BITS)
    assert "context_length" not in str(caught.value) and "engine.ranks 2" in str(caught.value)
    with pytest.raises(NotEnoughMemory, match="free memory, or use fewer bits for weights"):
        Budget(GIB, None, 1).num_blocks(WEIGHTS_IN_8_BITS)


def test_more_ranks_on_cpus_have_no_more_memory_together() -> None:
    on_cpu = replace(WEIGHTS_IN_8_BITS, form=replace(WEIGHTS_IN_8_BITS.form, device="cpu"))
    assert fewest_ranks(on_cpu, Budget(80 * GIB, None, 1).room) is None


def test_the_fullest_rank_decides_and_the_pool_takes_exactly_the_rest() -> None:
    config = served()
    predicted = settle_pool(config, LLAMA_8B, [loaded(config)])
    assert predicted == config, "as predicted"
    demand = Demand.of_config(config, LLAMA_8B)
    fuller = loaded(config, 3 * GIB)
    settled = settle_pool(config, LLAMA_8B, [loaded(config), fuller]).engine
    left = settled.memory_budget_bytes - fuller.total - demand.memory.graphs - demand.memory.kv_tails
    assert settled.num_blocks == left // demand.block_bytes
    assert settled.kv_bytes_per_rank == settled.num_blocks * demand.block_bytes <= left
    assert settled.num_blocks < config.engine.num_blocks


def test_a_pool_of_a_given_size_is_not_changed_by_what_is_measured() -> None:
    config = served(kv_memory_bytes=20 * GIB)
    assert settle_pool(config, LLAMA_8B, [loaded(config, 10 * GIB)]) == config
    with pytest.raises(NotEnoughMemory, match=r"engine\.kv_memory_bytes \(20\.00 GiB\) is too much"):
        settle_pool(config, LLAMA_8B, [loaded(config, 44 * GIB)])


def test_a_largest_step_that_was_larger_than_foreseen_ends_the_start_with_numbers() -> None:
    config = served(memory_budget=40 * GIB)
    with pytest.raises(NotEnoughMemory, match=r"and 1[0-9]\.\d\d GiB of all else, which cannot hold one sequence"):
        settle_pool(config, LLAMA_8B, [loaded(config, 15 * GIB)])


def test_one_line_tells_of_parts_pool_and_graphs_that_were_foreseen_badly() -> None:
    config = served(memory_budget=40 * GIB)
    predicted = Demand.of_config(config, LLAMA_8B).memory
    pool = PoolMemory(config.engine.kv_bytes_per_rank, predicted.graphs)
    line = told_memory(config, memory_stats(config, LLAMA_8B, loaded(config), pool))
    assert line.startswith("a rank takes 40") and "of 40960 MiB (runtime 1024 MiB, weights " in line
    assert f"its pool has {config.engine.num_blocks} blocks, for 1 sequences of 131072 tokens" in line
    assert "predicted" not in line
    off = replace(pool, graphs=2 * predicted.graphs)
    told = told_memory(config, memory_stats(config, LLAMA_8B, loaded(config), off))
    assert told.endswith(f"graphs were predicted to take {predicted.graphs / MIB:.0f} MiB")
