"""Attention over shards, merged, equals attention over everything."""

import pytest
import torch

from llama4coder.attention import merge as attention_merge
from llama4coder.gpu.merge import merge


@pytest.mark.parametrize(("num_parts", "head_dim"), [(1, 64), (2, 128), (5, 96), (19, 32)])
def test_shards_of_the_keys_equal_the_whole(device: torch.device, num_parts: int, head_dim: int) -> None:
    torch.manual_seed(num_parts)
    scores = torch.randn(3, 4, num_parts * 7) * 8
    values = torch.randn(num_parts * 7, head_dim)
    shards = torch.randperm(num_parts * 7).reshape(num_parts, 7)
    outs = torch.stack([scores[..., shard].softmax(-1) @ values[shard] for shard in shards]).to(device)
    lses = torch.stack([scores[..., shard].logsumexp(-1) for shard in shards]).to(device)
    merged = merge(outs, lses)
    torch.testing.assert_close(merged.out.cpu(), scores.softmax(-1) @ values)
    torch.testing.assert_close(merged.lse.cpu(), scores.logsumexp(-1))


def test_the_kernel_merges_as_torch_does(device: torch.device) -> None:
    """Five parts of 30 heads, some of which saw nothing, and a token of which none saw anything."""
    torch.manual_seed(0)
    outs, lses = torch.randn(5, 7, 30, 16), torch.randn(5, 7, 30) * 20
    lses[torch.rand(lses.shape) < 0.4] = -torch.inf
    lses[:, 3] = -torch.inf
    expected, merged = attention_merge.merge(outs, lses), merge(outs.to(device), lses.to(device))
    torch.testing.assert_close(merged.out.cpu(), expected.out)
    torch.testing.assert_close(merged.lse.cpu(), expected.lse)


def test_a_part_that_saw_nothing_is_not_read(device: torch.device) -> None:
    outs, lses = torch.randn(2, 1, 2, 32, device=device), torch.tensor([[[3.0, -torch.inf]], [[-torch.inf] * 2]])
    outs[1] = torch.nan
    outs[0, 0, 1] = torch.nan
    merged = merge(outs, lses.to(device))
    torch.testing.assert_close(merged.out[0, 0], outs[0, 0, 0])
    assert merged.out[0, 1].eq(0).all()
    assert merged.lse.cpu().tolist() == [[3.0, -torch.inf]]


def test_merging_no_tokens(device: torch.device) -> None:
    assert merge(torch.empty(2, 0, 4, 32, device=device), torch.empty(2, 0, 4, device=device)).out.shape == (0, 4, 32)
