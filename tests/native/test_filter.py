"""The compiled filter against the contract, and against torch's on whole vocabularies."""

import ctypes

import pytest
import torch

from llama4coder.native.filter import NativeFilter
from llama4coder.sampling.filters import FilterRow, TorchFilter
from tests.support.filter_contract import FilterContract


class TestNativeFilter(FilterContract):
    @pytest.fixture(autouse=True)
    def _load(self, library: ctypes.CDLL) -> None:
        self.library = library

    def token_filter(self) -> NativeFilter:
        return NativeFilter(self.library)


@pytest.mark.parametrize("scale", [0.01, 1.0, 4.0])
def test_thresholds_of_whole_vocabularies_are_those_of_torch(library: ctypes.CDLL, scale: float) -> None:
    logits = torch.randn(9, 49157, generator=torch.Generator().manual_seed(2)) * scale
    rows = [
        *(FilterRow(temperature, top_p=0.95) for temperature in (0.2, 1.0, 1.5)),
        *(FilterRow(1.0, top_k=top_k) for top_k in (1, 50, 49157)),
        FilterRow(0.7, top_k=2000, top_p=0.5),
        FilterRow(1.0, min_p=0.1),
        FilterRow(1.0, top_k=10, top_p=0.9, min_p=0.2),
    ]
    kept = logits >= NativeFilter(library)(logits, rows).unsqueeze(1)
    expected = logits >= TorchFilter()(logits, rows).unsqueeze(1)
    # Sums of 49,157 small probabilities differ in their last digits, and with them the last tokens kept.
    assert (kept.sum(1) - expected.sum(1)).abs().max() <= 0.001 * kept.sum(1).max()
    narrow = [index for index, row in enumerate(rows) if row.top_p == 1.0]
    assert torch.equal(kept[narrow], expected[narrow])
