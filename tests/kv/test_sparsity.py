"""From which position on tokens read a few blocks only."""

import pytest

from llama4coder.config import EngineConfig
from llama4coder.kv.sparsity import RECENT_BLOCKS, SINK_BLOCKS, Sparsity


@pytest.mark.parametrize(("num_prompt_tokens", "start"), [(1, 128), (127, 128), (128, 128), (129, 129), (5000, 5000)])
def test_prompts_and_short_sequences_are_read_whole(num_prompt_tokens: int, start: int) -> None:
    assert Sparsity.of(num_prompt_tokens, top_blocks=8).start == start


def test_shards_divide_what_is_read() -> None:
    assert [Sparsity(0, 8).per_shard(count) for count in (1, 2, 3, 8, 9)] == [8, 4, 3, 1, 1]


def test_the_least_number_leaves_one_block_to_choose() -> None:
    assert EngineConfig(top_blocks=SINK_BLOCKS + RECENT_BLOCKS + 1).top_blocks
