"""Torch's attention to one KV shard's keys."""

import pytest
import torch

from llama4coder.attention.torch_backend import TorchAttention
from tests.support.shard_contract import ShardAttentionContract, Subject


class TestTorch(ShardAttentionContract):
    @pytest.fixture
    def subject(self) -> Subject:
        return Subject(TorchAttention, torch.float32, torch.device("cpu"), rounding=1e-5)
