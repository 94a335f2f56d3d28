"""The staircase of batch sizes."""

import pytest

from llama4coder.gpu.graph_sizes import GraphSize, GraphSizes


def test_stairs_are_small_powers_and_multiples_of_eight() -> None:
    assert GraphSizes.up_to(64).num_rows == (1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64)
    assert GraphSizes.up_to(20).num_rows == (1, 2, 4, 8, 16, 20)
    assert GraphSizes.up_to(1).num_rows == (1,)
    assert GraphSizes.up_to(3).num_rows == (1, 2, 3)


@pytest.mark.parametrize(("num_rows", "padded"), [(1, 1), (2, 2), (3, 4), (5, 8), (8, 8), (9, 16), (17, 20), (20, 20)])
def test_a_batch_is_padded_to_the_next_stair(num_rows: int, padded: int) -> None:
    assert GraphSizes.up_to(20).padded(num_rows) == GraphSize(padded, 1)


def test_batches_without_a_graph() -> None:
    sizes = GraphSizes.up_to(256, (1, 8))
    assert sizes.padded(257) is None
    assert sizes.padded(3, tokens_per_row=2) == GraphSize(4, 8)
    assert sizes.padded(3, tokens_per_row=9) is None
    assert sizes.padded(3, tokens_per_row=8) == GraphSize(4, 8)
    assert sizes.padded(256, tokens_per_row=8) is None  # long enough to need none


def test_largest_first_and_each_once() -> None:
    sizes = GraphSizes.up_to(16, (4, 1, 4)).all()
    tokens = [size.num_tokens for size in sizes]
    assert tokens == sorted(tokens, reverse=True)
    assert len(set(sizes)) == len(sizes) == 2 * 5
    assert all(size.num_tokens <= 1024 for size in GraphSizes.up_to(256, (1, 8)).all())


@pytest.mark.parametrize(
    ("max_draft_tokens", "expected"), [(0, (1,)), (1, (1, 2)), (4, (1, 2, 4, 5)), (8, (1, 2, 4, 8, 9))]
)
def test_verification_has_stairs_of_its_own(max_draft_tokens: int, expected: tuple[int, ...]) -> None:
    assert GraphSizes.to_verify(4, max_draft_tokens).tokens_per_row == expected
