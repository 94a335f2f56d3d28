"""Native attention where tokens read a few blocks only."""

import ctypes

import pytest
import torch

from llama4coder.attention.batch import HeadLayout
from llama4coder.config import KVFormat
from llama4coder.native.attention import NativeAttention
from tests.support.sparse_contract import SparseContract, SparseSubject


class TestNative(SparseContract):
    @pytest.fixture
    def subject(self, library: ctypes.CDLL) -> SparseSubject:
        def backend(heads: HeadLayout, kv_format: KVFormat) -> NativeAttention:
            return NativeAttention(library, heads)

        return SparseSubject(backend, HeadLayout(6, 2, 32), torch.bfloat16, torch.device("cpu"), rounding=0.006)
