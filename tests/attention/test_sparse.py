"""Torch's attention where tokens read a few blocks only."""

import pytest
import torch

from llama4coder.attention.batch import HeadLayout
from llama4coder.attention.by_format import torch_attention
from tests.support.sparse_contract import SparseContract, SparseSubject


class TestTorch(SparseContract):
    @pytest.fixture
    def subject(self) -> SparseSubject:
        return SparseSubject(torch_attention, HeadLayout(6, 2, 32), torch.float32, torch.device("cpu"), rounding=1e-5)
