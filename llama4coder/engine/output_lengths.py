"""How long outputs become, learnt from those that have ended: what an admission reserves for one.

Too little costs extensions, and a preemption once the pool is full; too much keeps others waiting for blocks that
nobody comes to use. Clients mostly leave `max_tokens` at all that fits, which says nothing.
"""

_QUANTILE = 0.7  # of outputs, that reserve enough at once; see `tests/bench/reserving.py`
_DECAY = 0.99  # per output: the last hundred count
_PRIOR_TOKENS = 256  # a function or a short answer of a chat; a guess that forty outputs outweigh
_PRIOR_WEIGHT = 10.0
_NUM_BUCKETS = 32


class OutputLengths:
    """A decayed histogram of output lengths; bucket b holds those of 2**(b-1) + 1 to 2**b tokens."""

    def __init__(self, quantile: float = _QUANTILE) -> None:
        self._quantile = quantile
        self._weights = [0.0] * _NUM_BUCKETS
        self._weights[_bucket(_PRIOR_TOKENS)] = _PRIOR_WEIGHT

    def observe(self, num_tokens: int, *, is_cut: bool) -> None:
        """Learn from an output of at least one token.

        One that was cut off at its limit says only that it would have been as long: if that is no more than expected
        anyway, it says nothing.
        """
        if is_cut and num_tokens <= self.expected(0):
            return
        self._weights = [_DECAY * weight for weight in self._weights]
        self._weights[_bucket(num_tokens)] += 1.0

    def expected(self, num_so_far: int) -> int:
        """Tokens in all that suffice for most of the outputs that came to more than `num_so_far`; more than that."""
        first = _bucket(num_so_far + 1)
        total = sum(self._weights[first:])
        seen = 0.0
        for bucket in range(first, _NUM_BUCKETS):
            seen += self._weights[bucket]
            if seen >= self._quantile * total:
                return 1 << bucket
        raise AssertionError("a part is more than the whole")


def _bucket(num_tokens: int) -> int:
    return min((num_tokens - 1).bit_length(), _NUM_BUCKETS - 1)
