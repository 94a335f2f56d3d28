"""Where the last tokens of a growing text have stood before: hash chains, as in LZ77."""

from array import array
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

NUM_HASHED = 3
"""Tokens whose hash finds a place; shorter repetitions are not found."""
_NONE = -1
_FACTORS = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
_MASK = 0xFFFFFFFF
_MIN_BITS, _MAX_BITS = 10, 16  # of the number of buckets


class SuffixIndex:
    """Costs 4 bytes per token and bucket; appending a token takes constant time, building it about 0.1 us per token.

    A place p stands for the tokens that end before it, so that p is where one would read on.
    """

    def __init__(self, token_ids: Sequence[int]) -> None:
        bits = min(max(len(token_ids).bit_length(), _MIN_BITS), _MAX_BITS)
        self._shift = 32 - bits
        buckets = _buckets(np.fromiter(token_ids, np.uint64, len(token_ids)), self._shift)
        self._latest, self._earlier = _chains(buckets, 1 << bits, len(token_ids))

    def append(self, token_ids: Sequence[int]) -> None:
        """The text has grown by one token; `token_ids` is all of it."""
        if len(token_ids) < NUM_HASHED:
            self._earlier.append(_NONE)
            return
        bucket = self._bucket(token_ids)
        self._earlier.append(self._latest[bucket])
        self._latest[bucket] = len(token_ids)

    def places(self, limit: int) -> Iterator[int]:
        """At most `limit` places, latest first, before which probably the same tokens stand as at the text's end."""
        return islice(self._places(), limit)

    def _places(self) -> Iterator[int]:
        place = self._earlier[-1]
        while place != _NONE:
            yield place
            place = self._earlier[place]

    def _bucket(self, token_ids: Sequence[int]) -> int:
        first, second, third = _FACTORS
        total = token_ids[-3] * first + token_ids[-2] * second + token_ids[-1] * third
        return (total & _MASK) >> self._shift


def _buckets(token_ids: NDArray[np.uint64], shift: int) -> NDArray[np.uint16]:
    """Of the n-grams that end before place `NUM_HASHED` and all later ones."""
    first, second, third = (np.uint64(factor) for factor in _FACTORS)
    total = token_ids[:-2] * first + token_ids[1:-1] * second + token_ids[2:] * third
    buckets: NDArray[np.uint64] = (total & np.uint64(_MASK)) >> np.uint64(shift)
    return buckets.astype(np.uint16)


def _chains(buckets: NDArray[np.uint16], num_buckets: int, num_tokens: int) -> tuple["array[int]", "array[int]"]:
    """The latest place of each bucket, and for each place the one before it in the same bucket."""
    order = np.argsort(buckets, kind="stable")  # a radix sort for 16 bits
    in_order = buckets[order]
    places = (order + NUM_HASHED).astype(np.int32)
    earlier = np.full(num_tokens + 1, _NONE, np.int32)
    same = in_order[1:] == in_order[:-1]
    earlier[places[1:][same]] = places[:-1][same]
    latest = np.full(num_buckets, _NONE, np.int32)
    latest[in_order] = places
    return array("i", latest.tobytes()), array("i", earlier.tobytes())
