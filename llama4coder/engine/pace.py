"""When to plan the next step while one runs: early enough to be in time, late enough for what still arrives."""

_LEAD_S = 0.003  # planning and the way to the ranks, with room for a scheduler that was asleep


class StepPace:
    """Predicts when the running step ends from steps of about as many tokens; pure, the clock is the caller's."""

    def __init__(self) -> None:
        self._last_s: dict[int, float] = {}

    def observe(self, num_tokens: int, time_s: float) -> None:
        """A step of so many tokens took so long."""
        self._last_s[num_tokens.bit_length()] = time_s

    def lead_after_s(self, num_tokens: int) -> float:
        """How long after its start the next step should be planned; at once for sizes not seen yet.

        A request that arrives meanwhile is part of the next step instead of the one after it: planning as soon as
        possible would add a whole step to its first token.
        """
        return max(0.0, self._last_s.get(num_tokens.bit_length(), 0.0) - _LEAD_S)
