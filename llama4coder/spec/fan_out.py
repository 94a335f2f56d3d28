"""How many ways a verification may end are drafted for, and where: more where it likely ends.

With acceptance a, the guess at place j is the first wrong one with probability a ** j * (1 - a). What the target
chooses instead is then the next of the ranked tokens, or one further down, each less likely than the one before by
about the same factor. So guesses are worth most early and high up: a geometric series both ways, capped at each place.
"""

from heapq import heapify, heapreplace

_NEXT_RANK = 0.4  # how much less likely the next token is than the one before: simulations with shared noise gave 0.35

_LOWEST, _HIGHEST = 0.05, 0.95  # acceptance that is believed: beyond, all guesses would go to one place

_MEMORY = 0.9  # per verification, of how guesses fared before


def fan_out(num_guessed: int, acceptance: float, budget: int, max_per_place: int) -> list[int]:
    """Of `budget` guesses, how many go to each of the places 0 to `num_guessed`, most valuable first.

    Place `num_guessed` is that of the token after all guesses; at every place the main guess is there already.
    """
    acceptance = min(max(acceptance, _LOWEST), _HIGHEST)
    counts = [0] * (num_guessed + 1)
    values = [(-(acceptance**place), place) for place in range(num_guessed + 1)]
    heapify(values)
    for _ in range(min(budget, max_per_place * len(counts))):
        value, place = values[0]
        counts[place] += 1
        heapreplace(values, (value * _NEXT_RANK if counts[place] < max_per_place else 0.0, place))
    return counts


class MatchRate:
    """How often a guess was right, recent ones counting more."""

    def __init__(self) -> None:
        self._right, self._all = 7.0, 10.0  # what is expected of a model nobody has seen at work

    @property
    def value(self) -> float:
        return self._right / self._all

    def add(self, num_right: int, is_wrong_after: bool) -> None:
        """Count so many right guesses, and maybe a wrong one after them."""
        self._right = self._right * _MEMORY + num_right
        self._all = self._all * _MEMORY + num_right + is_wrong_after
