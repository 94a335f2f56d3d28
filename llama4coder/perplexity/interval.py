"""Perplexity with its 95 % interval, and the difference of two over the same text.

What a model loses on a token depends on the tokens nearby, so that single tokens would promise too narrow an interval.
The units are therefore blocks of `BLOCK_TOKENS` consecutive tokens of one window; the last of a window may be shorter.
The mean loss is a ratio, all losses over all tokens, whose standard error follows from how far each block's sum is from
what its length would have it be (Cochran, Sampling Techniques, 3rd edition, chapter 6). Intervals are normal ones of
the mean loss, taken to the exponential; of a difference the units are the blocks' differences, token by token, since
the text's own difficulty is the same in both.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

BLOCK_TOKENS = 256
FEWEST_BLOCKS = 20  # below which the normal quantile is no longer near Student's

_QUANTILE = NormalDist().inv_cdf(0.975)

Losses = Sequence[Sequence[float]]
"""Negative log-probabilities (natural) of tokens, by window."""


@dataclass(frozen=True, slots=True)
class Interval:
    """95 %."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and how sure it is; no interval where the text is too short for one."""

    value: float
    interval: Interval | None


def perplexity(losses: Losses) -> Estimate:
    """The exponential of the mean loss."""
    return _exponential(losses)


def difference_percent(losses: Losses, baseline: Losses) -> Estimate:
    """By how much the perplexity is above the baseline's, in percent; both are of the same tokens."""
    pairs = [
        [own - base for own, base in zip(window, reference, strict=True)]
        for window, reference in zip(losses, baseline, strict=True)
    ]
    ratio = _exponential(pairs)
    interval = ratio.interval and Interval(_percent(ratio.interval.low), _percent(ratio.interval.high))
    return Estimate(_percent(ratio.value), interval)


def _exponential(losses: Losses) -> Estimate:
    blocks = list(_blocks(losses))
    num_tokens = sum(map(len, blocks))
    mean = sum(map(math.fsum, blocks)) / num_tokens
    if len(blocks) < FEWEST_BLOCKS:
        return Estimate(math.exp(mean), None)
    squares = math.fsum((math.fsum(block) - mean * len(block)) ** 2 for block in blocks)
    reach = _QUANTILE * math.sqrt(squares * len(blocks) / (len(blocks) - 1)) / num_tokens
    return Estimate(math.exp(mean), Interval(math.exp(mean - reach), math.exp(mean + reach)))


def _blocks(losses: Losses) -> Iterator[Sequence[float]]:
    for window in losses:
        for first in range(0, len(window), BLOCK_TOKENS):
            yield window[first : first + BLOCK_TOKENS]


def _percent(ratio: float) -> float:
    return 100 * (ratio - 1)
