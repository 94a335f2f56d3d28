"""The Triton kernels over one KV shard's keys."""

import pytest
import torch

from llama4coder.gpu.attention import PagedAttention
from tests.support.shard_contract import STEPS, ShardAttentionContract, Subject


def case(kind: str, num_shards: int) -> object:
    """The interpreter takes seconds for a step: three shards of what one kind of row makes come with the slow tests."""
    is_quick = num_shards == 2 or kind in ("later chunk", "mixed")
    return pytest.param(kind, num_shards, marks=() if is_quick else pytest.mark.slow)


class TestTriton(ShardAttentionContract):
    @pytest.fixture
    def subject(self, device: torch.device, half: torch.dtype) -> Subject:
        return Subject(PagedAttention, half, device, rounding=0.006)

    @pytest.mark.parametrize(("kind", "num_shards"), [case(kind, shards) for kind in STEPS for shards in (2, 3)])
    def test_parts_are_attention_to_own_keys_and_together_the_whole(
        self, subject: Subject, kind: str, num_shards: int
    ) -> None:
        super().test_parts_are_attention_to_own_keys_and_together_the_whole(subject, kind, num_shards)
