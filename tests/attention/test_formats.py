"""Torch's attention to KV of each format."""

import pytest
import torch

from llama4coder.attention.batch import HeadLayout
from llama4coder.attention.by_format import torch_attention
from tests.support.format_contract import FormatContract, FormatSubject


class TestTorch(FormatContract):
    @pytest.fixture
    def subject(self) -> FormatSubject:
        return FormatSubject(torch_attention, HeadLayout(6, 2, 32), torch.float32, torch.device("cpu"), rounding=1e-5)
