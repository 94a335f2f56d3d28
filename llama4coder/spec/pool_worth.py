"""Whether a replica's drafts are of any use, and when to try one again that was of none."""

_WEIGHT = 1 / 32  # of one step
_USELESS = 0.1  # share of useful lookups below which a replica costs more than it gives
_USEFUL = 0.25
_FIRST = 0.3  # the share that one starts with: it has about 35 steps to prove itself
_TRIAL = 0.15  # and after a rest, about 13
_FIRST_REST_S = 1.0
_LONGEST_REST_S = 60.0


class Worth:
    """The recent share of lookups that were useful; a replica rests while it is useless, longer each time."""

    def __init__(self) -> None:
        self._share = _FIRST
        self._rest_s = _FIRST_REST_S
        self._resting_until_s = float("-inf")

    def is_resting(self, now_s: float) -> bool:
        return now_s < self._resting_until_s

    def count(self, share: float, now_s: float) -> None:
        """Count one step, of whose lookups such a share was useful."""
        self._share += _WEIGHT * (share - self._share)
        if self._share > _USEFUL:
            self._rest_s = _FIRST_REST_S
        elif self._share < _USELESS:
            self.rest(now_s)

    def rest(self, now_s: float) -> None:
        """Leave it alone for a while."""
        self._resting_until_s = now_s + self._rest_s
        self._rest_s = min(2 * self._rest_s, _LONGEST_REST_S)
        self._share = _TRIAL
