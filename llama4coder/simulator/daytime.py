"""How many of the developers are at work as time goes by: shares of the most that there ever are."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from llama4coder.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Daytime:
    """Shares at equal distances from the first arrival to the last, straight lines between them."""

    shares: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not self.shares or not all(0 <= share <= 1 for share in self.shares) or max(self.shares) == 0:
            raise ConfigError("the shares of a day must be numbers from 0 to 1, one of them more than 0")

    @property
    def is_even(self) -> bool:
        return self.shares == (1.0,)

    @property
    def num_parts(self) -> int:
        """Between one share and the next."""
        return max(1, len(self.shares) - 1)

    @property
    def mean(self) -> float:
        if len(self.shares) == 1:
            return self.shares[0]
        return sum((before + after) / 2 for before, after in pairwise(self.shares)) / self.num_parts

    def share_at(self, passed: float) -> float:
        """Where such a part of the whole time has passed, 0 to 1."""
        places: Sequence[float] = [place / self.num_parts for place in range(len(self.shares))]
        return float(np.interp(passed, places, self.shares))
