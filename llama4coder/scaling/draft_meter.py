"""What a draft replica says of its load."""

from dataclasses import dataclass

from llama4coder.scaling.drafts import DraftLoad
from llama4coder.scaling.pool_meter import PoolUse

_HEARD_FOR_S = 10.0  # a target says every second what it has of the pool


@dataclass(frozen=True, slots=True)
class _Heard:
    use: PoolUse
    heard_s: float


class DraftMeter:
    """From time that was spent to the share of time, and from what each target says to what they say together."""

    def __init__(self, now_s: float) -> None:
        self._busy_s = 0.0
        self._asked_s = now_s
        self._heard: dict[str, _Heard] = {}

    def hear(self, use: PoolUse, now_s: float) -> None:
        """A target says what it has of the pool."""
        self._heard[use.target] = _Heard(use, now_s)

    def load(self, busy_s: float, num_sessions: int, now_s: float) -> DraftLoad:
        """Since the last call; `busy_s` is since its start."""
        self._heard = {name: one for name, one in self._heard.items() if now_s - one.heard_s < _HEARD_FOR_S}
        uses = [one.use for one in self._heard.values()]
        gains = [use.gain for use in uses if use.gain > 0]
        return DraftLoad(
            busy_share=self._busy_share(busy_s, now_s),
            num_sessions=num_sessions,
            late_share=sum(use.late_share for use in uses) / len(uses) if uses else 0.0,
            gain=sum(gains) / len(gains) if gains else 0.0,
        )

    def _busy_share(self, busy_s: float, now_s: float) -> float:
        share = (busy_s - self._busy_s) / max(now_s - self._asked_s, 1e-3)
        self._busy_s, self._asked_s = busy_s, now_s
        return min(1.0, share)
