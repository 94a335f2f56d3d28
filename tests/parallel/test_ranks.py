"""Several ranks generate what one generates, token for token, in float32."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from llama4coder.engine.engine import Engine
from llama4coder.engine.executor import DoneStep
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.kv.sizing import kv_bytes_per_block, num_blocks_for
from llama4coder.obs.stats import NullObserver
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.parallel.plan import RankPlan
from llama4coder.shape import read_shape
from llama4coder.spec.types import Speculation
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions
from tests.models.cases import FAMILIES
from tests.support.engines import Collected, build_engine, expect_short_outputs, greedy_request, resolved, run_all
from tests.support.host_counts import HostCounts
from tests.support.models import TINY, write_tiny, write_tiny_llama
from tests.support.scripted import Scripted
from tests.support.thread_group import execute_on_all, make_shares

# The last divides the features of attention unevenly.
ALL = ((2, 1), (3, 1), (6, 1), (1, 2), (1, 3), (1, 4), (2, 2), (3, 2), (2, 3), (1, 5))
SOME = ((3, 1), (1, 2), (2, 3))
CASES = {"tied": ALL, "untied": SOME, "qwen2": SOME, "qwen3": SOME[2:], "smollm3": SOME[2:]}
TIGHT = {"max_step_tokens": 16, "max_sequences": 4}


@dataclass(frozen=True)
class Checkpoint:
    """A folder, and what one rank generates from it."""

    folder: Path
    expected: dict[str, Collected]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    return {family: write(family, tmp_path_factory.mktemp(family)) for family in CASES}


def write(family: str, folder: Path) -> Checkpoint:
    size = {"hidden_size": 96, "num_attention_heads": 12, "num_key_value_heads": 6}
    if family in FAMILIES:
        model_type, overrides = FAMILIES[family]
        write_tiny(folder, model_type, **overrides, **size)
    else:
        write_tiny_llama(folder, **size, tie_word_embeddings=family == "tied")
    engine = build_engine(resolved(folder, num_blocks=300))
    return Checkpoint(folder, run_all(engine, [*requests(), *long_requests()]))


def parallel_engine(
    folder: Path,
    layout: ParallelLayout,
    blocks_per_shard: int,
    speculation: Speculation | None = None,
    **overrides: object,
) -> Engine:
    shape = read_shape(folder)
    config = resolved(
        folder,
        ranks=layout.num_ranks,
        kv_shards=layout.kv_shards,
        kv_memory_bytes=blocks_per_shard * kv_bytes_per_block(RankPlan(shape, layout, 0), "float32"),
        **overrides,
    )
    assert config.engine.num_blocks == blocks_per_shard
    execute = execute_on_all(config, make_shares(shape, layout))
    return Engine(config, LocalExecutor(lambda plan: DoneStep(execute(plan))), NullObserver(), speculation)


def requests() -> list[GenerateRequest]:
    """Prompts that share a beginning, long and short ones, and every way to choose a token."""
    generator = torch.Generator().manual_seed(0)
    beginning = torch.randint(0, 512, (40,), generator=generator).tolist()
    ways = (
        SamplingParams(temperature=0.0),
        SamplingParams(temperature=1.0),
        SamplingParams(temperature=0.8, top_p=0.9, top_k=50),
        SamplingParams(temperature=1.0, min_p=0.05, num_logprobs=3),
        SamplingParams(temperature=0.7, repetition_penalty=1.2, logit_bias={5: 3.0, 500: 4.0}),
        SamplingParams(temperature=0.0, num_prompt_logprobs=2),
    )
    made = []
    for index in range(12):
        ending = torch.randint(0, 512, (1 + 7 * index,), generator=generator).tolist()
        prompt = tuple(beginning + ending if index % 2 else ending)
        stop = StopConditions(16, min_tokens=4, stop_token_ids=frozenset({7, 300}))
        made.append(GenerateRequest(str(index), prompt, ways[index % len(ways)], stop, seed=index))
    return made


def long_requests() -> list[GenerateRequest]:
    """Of which a pool for one full sequence holds only some until their end."""
    prompts = torch.randint(0, 512, (4, 120), generator=torch.Generator().manual_seed(1)).tolist()
    return [greedy_request(f"long {index}", prompt[index:], max_tokens=60) for index, prompt in enumerate(prompts)]


def assert_same(results: dict[str, Collected], expected: dict[str, Collected]) -> None:
    for request_id, result in results.items():
        assert result.token_ids == expected[request_id].token_ids
        assert result.finish_reason == expected[request_id].finish_reason
        for found, wanted in zip(result.logprobs, expected[request_id].logprobs, strict=True):
            assert [top.token_id for top in found.top] == [top.token_id for top in wanted.top]
            assert found.chosen.logprob == pytest.approx(wanted.chosen.logprob, abs=1e-4)
        assert len(result.prompt_logprobs) == len(expected[request_id].prompt_logprobs)


every_case = pytest.mark.parametrize(
    ("family", "layout"),
    [(family, ParallelLayout(*layout)) for family, layouts in CASES.items() for layout in layouts],
    ids=str,
)


@every_case
def test_ranks_together_generate_what_one_does(
    checkpoints: dict[str, Checkpoint], family: str, layout: ParallelLayout
) -> None:
    """All at once, and then with prompts found in the cache."""
    checkpoint = checkpoints[family]
    engine = parallel_engine(checkpoint.folder, layout, blocks_per_shard=64)
    assert_same(run_all(engine, requests()), checkpoint.expected)
    again = run_all(engine, requests())
    assert_same(again, checkpoint.expected)
    assert sum(result.num_cached_tokens for result in again.values()) > 300


@every_case
def test_in_chunks_and_with_preemption(checkpoints: dict[str, Checkpoint], family: str, layout: ParallelLayout) -> None:
    checkpoint = checkpoints[family]
    one_sequence = num_blocks_for(TINY["max_position_embeddings"], layout.kv_shards)
    engine = parallel_engine(checkpoint.folder, layout, one_sequence, **TIGHT)
    expect_short_outputs(engine)
    assert_same(run_all(engine, [*requests(), *long_requests()]), checkpoint.expected)
    assert engine.scheduler.num_preemptions > 0


@pytest.mark.parametrize("layout", [ParallelLayout(*layout) for layout in ((2, 1), (1, 2), (2, 2), (1, 3))], ids=str)
def test_every_rank_keeps_its_part_of_a_block_in_host_memory(
    checkpoints: dict[str, Checkpoint], layout: ParallelLayout
) -> None:
    """Preempted sequences and prompts that come again are loaded by all ranks, each from its own slots."""
    checkpoint = checkpoints["tied"]
    one_sequence = num_blocks_for(TINY["max_position_embeddings"], layout.kv_shards)
    host_bytes = 64 * kv_bytes_per_block(RankPlan(read_shape(checkpoint.folder), layout, 0), "float32")
    engine = parallel_engine(checkpoint.folder, layout, one_sequence, host_memory_bytes=host_bytes, **TIGHT)
    assert engine.scheduler.pool.host.num_slots == 64 * layout.kv_shards
    expect_short_outputs(engine)
    counts = HostCounts(engine)
    assert_same(run_all(engine, [*requests(), *long_requests()]), checkpoint.expected)
    assert engine.scheduler.num_preemptions > 0
    assert_same(run_all(engine, long_requests()), checkpoint.expected)
    assert_same(run_all(engine, requests()), checkpoint.expected)
    assert counts.num_loaded > 0


@every_case
def test_guesses_change_nothing(checkpoints: dict[str, Checkpoint], family: str, layout: ParallelLayout) -> None:
    checkpoint = checkpoints[family]
    one_sequence = num_blocks_for(TINY["max_position_embeddings"], layout.kv_shards)
    answers = {name: result.token_ids for name, result in checkpoint.expected.items()}
    speculation = Scripted(answers, chance_right=0.8)
    engine = parallel_engine(checkpoint.folder, layout, 2 * one_sequence, speculation)
    assert_same(run_all(engine, [*requests(), *long_requests()]), checkpoint.expected)
    assert 0 < speculation.num_accepted < speculation.num_drafted
