"""What speculation is worth of late."""

_MEMORY = 0.98  # what a step leaves of those before it


class Speedup:
    """Time that plain decoding would have taken for the same tokens, over the time taken; recent steps count most."""

    def __init__(self) -> None:
        self._plain_s = 0.0
        self._taken_s = 0.0

    def observe(self, plain_s: float, taken_s: float) -> None:
        """A step took `taken_s` and made tokens for which plain steps would have taken `plain_s`."""
        self._plain_s = self._plain_s * _MEMORY + plain_s
        self._taken_s = self._taken_s * _MEMORY + taken_s

    @property
    def ratio(self) -> float:
        """1 before the first step."""
        return self._plain_s / self._taken_s if self._taken_s else 1.0
