"""Tile sizes per problem: a table instead of tuning at run time, which would disturb graph capture and start-up.

Every figure here is a choice to be measured; change it here and nowhere else.
"""

from dataclasses import dataclass

MAX_SHORT_TILE = 64  # query rows (tokens x heads of a group) of a row that is split over its keys, beside long rows
MAX_ALL_SHORT_TILE = 128  # the same in steps that hold nothing longer
MIN_SPLIT_TOKENS = 128  # with fewer keys per split the merge costs more than the parallelism wins
MAX_SPLIT_TOKENS = 8192  # with more, one long sequence holds up a large batch
MAX_SPLITS = 128
PROGRAMS_PER_MULTIPROCESSOR = 3  # that fit side by side with the tiles below


@dataclass(frozen=True, slots=True)
class Tile:
    """One program computes `block_m` query rows against `block_n` keys at a time."""

    block_m: int
    block_n: int
    num_warps: int
    num_stages: int  # of the software pipeline


def next_power_of_two(number: int) -> int:
    return 1 << max(number - 1, 0).bit_length()


def rows_at_once(num_rows: int) -> int:
    """What a program that looks for its row among so many reads; in few sizes, each of which is compiled for itself."""
    return max(64, next_power_of_two(num_rows))


def short_tile(num_query_rows: int, head_dim: int, itemsize: int) -> Tile:
    """For decoding and verification, which wait for memory: as many keys in flight as shared memory holds."""
    block_m = max(16, next_power_of_two(num_query_rows))
    # The pipeline spends stages on the block table, too: five of them hold two tiles of keys and values.
    return Tile(block_m, _keys_in(16384, head_dim, itemsize), num_warps=8 if block_m > 64 else 4, num_stages=5)


def long_tile(group: int, head_dim: int, itemsize: int) -> Tile:
    """For prefill, which waits for the tensor cores."""
    block_m = max(128 if head_dim <= 128 and itemsize <= 2 else 64, next_power_of_two(group))
    return Tile(block_m, _keys_in(16384, head_dim, itemsize), num_warps=8 if block_m > 64 else 4, num_stages=3)


def num_splits(num_programs: int, max_length: int, device_programs: int) -> int:
    """Splits of the longest row's keys, when one split each would make `num_programs` programs.

    From the launch's upper bounds alone, so that a captured graph stays valid whatever the lengths are.
    """
    to_fill = -(-device_programs // num_programs)
    useful = -(-max_length // MIN_SPLIT_TOKENS)
    to_balance = -(-max_length // MAX_SPLIT_TOKENS)
    return max(1, min(max(to_fill, to_balance), useful, MAX_SPLITS))


def _keys_in(num_bytes: int, head_dim: int, itemsize: int) -> int:
    return max(16, min(128, num_bytes // (next_power_of_two(head_dim) * itemsize)))


def warps_for(block: int) -> int:
    """For a program that holds one row of `block` numbers: 16 of them per thread, as far as that goes."""
    return max(1, min(16, block // 512))
