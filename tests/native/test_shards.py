"""The native kernels over one KV shard's keys."""

import ctypes
from functools import partial

import pytest
import torch

from llama4coder.native.attention import NativeAttention
from tests.support.shard_contract import ShardAttentionContract, Subject


class TestNative(ShardAttentionContract):
    @pytest.fixture
    def subject(self, library: ctypes.CDLL) -> Subject:
        return Subject(partial(NativeAttention, library), torch.bfloat16, torch.device("cpu"), rounding=0.006)
