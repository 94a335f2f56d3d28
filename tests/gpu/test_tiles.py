"""The choice of splits: from bounds alone, enough to fill a device, few enough to be worth their merge."""

import pytest

from llama4coder.gpu.tiles import MAX_SPLIT_TOKENS, MAX_SPLITS, MIN_SPLIT_TOKENS, long_tile, num_splits, short_tile


@pytest.mark.parametrize(
    ("num_programs", "max_length", "expected"),
    [
        (8, 100_000, 50),  # one row of a model with 8 KV heads fills the device
        (400, 1_000, 1),  # a batch fills it alone
        (400, 4 * MAX_SPLIT_TOKENS, 4),  # but its longest row must not hold up the others
        (8, 2 * MIN_SPLIT_TOKENS, 2),
        (8, 0, 1),
        (1, 10_000_000, MAX_SPLITS),
    ],
)
def test_number_of_splits(num_programs: int, max_length: int, expected: int) -> None:
    assert num_splits(num_programs, max_length, device_programs=400) == expected


@pytest.mark.parametrize("head_dim", [16, 64, 96, 128, 256])
@pytest.mark.parametrize("itemsize", [1, 2, 4])
def test_tiles_are_powers_of_two_that_the_tensor_cores_take(head_dim: int, itemsize: int) -> None:
    for tile in (short_tile(6, head_dim, itemsize), long_tile(3, head_dim, itemsize)):
        for size in (tile.block_m, tile.block_n):
            assert size >= 16 and size & (size - 1) == 0
    assert long_tile(100, head_dim, itemsize).block_m >= 100, "one token of a whole group must fit"
