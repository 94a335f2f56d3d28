"""Each rank of a KV group returns its features of what one rank alone attends to."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from llama4coder.attention.batch import HeadLayout
from llama4coder.attention.torch_backend import TorchAttention
from llama4coder.models.random_weights import SHAPES
from llama4coder.parallel.attention import FeaturePieces, ShardedAttention
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.parallel.plan import RankPlan
from llama4coder.parallel.share import RankShare
from tests.support.steps import Row, assert_like, random_step
from tests.support.thread_group import make_shares

ROWS = [Row(1, 40), Row(20, 30), Row(3, 0), Row(1, 0)]
HEADS = HeadLayout(9, 3, 64)
SHAPE = replace(SHAPES["1b"], num_heads=9, num_kv_heads=3, head_dim=64)  # SmolLM2's attention


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-5), (torch.bfloat16, 0.006)], ids=str)
@pytest.mark.parametrize("kv_shards", [2, 3, 4, 5])
def test_every_rank_gets_its_features(kv_shards: int, dtype: torch.dtype, rounding: float) -> None:
    step = random_step(ROWS, HEADS, dtype, torch.device("cpu"))
    exact = step.exact()
    whole = TorchAttention(HEADS).prepare(exact.layout)(exact.qkv, exact.rotation, exact.kv)
    shares = make_shares(SHAPE, ParallelLayout(1, kv_shards))
    steps = [step.on(share.plan.layout.kv_part(share.plan.rank)) for share in shares]

    def attend(share: RankShare) -> Tensor:
        local = steps[share.plan.rank]
        attention = ShardedAttention.of(TorchAttention(HEADS), share).prepare(local.layout)
        return attention(local.qkv, local.rotation, local.kv)

    with ThreadPoolExecutor(kv_shards) as pool:
        results = list(pool.map(attend, shares))
    for share, result in zip(shares, results, strict=True):
        assert result.dtype == dtype
        assert_like(result, whole[:, share.plan.attended], rounding=rounding)
    assert sum(result.shape[1] for result in results) == whole.shape[1]


@pytest.mark.parametrize(("kv_shards", "size"), [(2, 32), (3, 64), (4, 16), (5, 1)])
def test_pieces_are_as_large_as_heads_and_shares_allow(kv_shards: int, size: int) -> None:
    """9 heads of 64 features: half of them end inside a head, a third of them do not."""
    assert FeaturePieces.of(RankPlan(SHAPE, ParallelLayout(1, kv_shards), 0)).size == size
