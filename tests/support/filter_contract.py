"""What every `TokenFilter` must do."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llama4coder.sampling.filters import FilterRow, TokenFilter

VOCAB_SIZE = 70


def reference_kept(logits: torch.Tensor, row: FilterRow) -> set[int]:
    """Top-k, top-p, min-p one after the other, by sorting; ties with the last kept token stay."""
    order = logits.sort(descending=True).indices.tolist()
    kept = order[: row.top_k] if row.top_k else order
    probabilities = (logits[kept] / row.temperature).double().softmax(-1)
    mass, num_kept = 0.0, 0
    for probability in probabilities.tolist():
        if num_kept and row.top_p < 1.0 and mass >= row.top_p:
            break
        mass += probability
        num_kept += 1
    lowest = logits[kept[num_kept - 1]]
    of_all = (logits / row.temperature).double().softmax(-1)
    floor = of_all.max() * row.min_p * (1 - 1e-6)
    return {index for index in range(len(logits)) if logits[index] >= lowest and of_all[index] >= floor}


rows = st.builds(
    FilterRow,
    temperature=st.sampled_from([0.3, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 3, 8, 20, 100]),
    top_p=st.sampled_from([0.05, 0.3, 0.9, 0.99, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
)


class FilterContract:
    """Subclass it, and give a `token_filter` method."""

    def token_filter(self) -> TokenFilter:
        raise NotImplementedError

    def test_what_is_kept_equals_the_reference(self) -> None:
        @settings(max_examples=200, deadline=None)
        @given(seed=st.integers(0, 1000), row=rows)
        def check(seed: int, row: FilterRow) -> None:
            logits = torch.randn(2, VOCAB_SIZE, generator=torch.Generator().manual_seed(seed)) * 2
            before = logits.clone()
            lowest = self.token_filter()(logits, [row, FilterRow(1.0)])
            assert torch.equal(logits, before)
            kept = set((logits[0] >= lowest[0]).nonzero().flatten().tolist())
            assert kept == reference_kept(logits[0], row)
            assert (logits[1] >= lowest[1]).all(), "a row without filters lost tokens"

        check()

    def test_ties_with_the_last_one_kept_are_kept(self) -> None:
        logits = torch.tensor([[1.0, 3.0, 2.0, 2.0, 2.0, 0.0]])
        assert self.token_filter()(logits, [FilterRow(1.0, top_k=2)]).tolist() == [2.0]

    def test_impossible_tokens_stay_out_and_one_is_always_kept(self) -> None:
        logits = torch.full((1, VOCAB_SIZE), -torch.inf)
        logits[0, 17] = -3.0
        for row in (FilterRow(1.0, top_p=1e-9), FilterRow(1.0, top_k=5, top_p=0.9), FilterRow(1.0, min_p=1.0)):
            assert self.token_filter()(logits, [row]).tolist()[0] <= -3.0
