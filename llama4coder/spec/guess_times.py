"""How long guessing itself takes: nothing to speak of, or a step of a draft model for every token."""

from llama4coder.spec.types import DraftSource

_FALL, _RISE = 0.5, 0.2  # weights of a new time, as of steps
_IDLE = 0.997  # what a step without asking leaves of it: what was too long once is tried again


class GuessTimes:
    """Learns from the steps' costs, by source and, to a power of two, by the number of sequences asked about."""

    def __init__(self) -> None:
        self._per_token_s: dict[DraftSource, dict[int, float]] = {}

    def observe(self, source: DraftSource, num_rows: int, num_tokens: int, time_s: float) -> None:
        """Up to so many tokens were guessed for each of so many sequences, all at once."""
        known = self._per_token_s.setdefault(source, {})
        new_s, size = time_s / num_tokens, num_rows.bit_length()
        old_s = known.get(size, new_s)
        known[size] = old_s + (_FALL if new_s < old_s else _RISE) * (new_s - old_s)

    def pass_over(self) -> None:
        """A step came without asking anybody."""
        for known in self._per_token_s.values():
            for size in known:
                known[size] *= _IDLE

    def per_token_s(self, source: DraftSource, num_rows: int) -> float:
        """Of one more token for each of them, from the nearest number that is known; 0 if none is."""
        known = self._per_token_s.get(source)
        if not known:
            return 0.0
        return known[min(known, key=lambda size: abs(size - num_rows.bit_length()))]
