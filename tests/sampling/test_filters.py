"""Torch's filter against the contract, with candidates that decide everything, some rows, and nothing."""

import pytest

from llama4coder.sampling.filters import TorchFilter
from tests.support.filter_contract import FilterContract


@pytest.mark.parametrize("num_candidates", [None, 4, 16, 64, 1024])
class TestTorchFilter(FilterContract):
    @pytest.fixture(autouse=True)
    def _choose(self, num_candidates: int | None) -> None:
        self.num_candidates = num_candidates

    def token_filter(self) -> TorchFilter:
        return TorchFilter(self.num_candidates)
