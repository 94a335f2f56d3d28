"""The Triton kernels over one KV shard's keys."""

import pytest
import torch

from llama4coder.gpu.attention import PagedAttention
from tests.support.shard_contract import ShardAttentionContract, Subject


class TestTriton(ShardAttentionContract):
    @pytest.fixture
    def subject(self, device: torch.device, half: torch.dtype) -> Subject:
        return Subject(PagedAttention, half, device, rounding=0.006)
