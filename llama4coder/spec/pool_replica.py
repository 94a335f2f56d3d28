"""One replica of the draft pool as a target sees it."""

from collections import deque
from dataclasses import dataclass

from llama4coder.spec.forecast import Advance, Opening
from llama4coder.spec.pool_messages import Answer, News
from llama4coder.spec.pool_session import PoolSession
from llama4coder.spec.pool_worth import Worth

_MAX_UNANSWERED = 256  # messages of which the time of sending is kept


@dataclass(frozen=True, slots=True)
class _Sent:
    number: int
    sent_s: float


class PoolReplica:
    """Which sequences it drafts, what it was sent and has answered, and what it has been worth."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.worth = Worth()
        self.sessions: dict[str, PoolSession] = {}  # of this target, by name
        self._is_draining = False
        self._num_other_sessions = 0
        self._closings: list[str] = []
        self._number = 0  # of the latest news
        self._unanswered: deque[_Sent] = deque()  # oldest first

    @property
    def load(self) -> int:
        """Sequences that it drafts, those of other targets as it has last said."""
        return len(self.sessions) + self._num_other_sessions

    def is_usable(self, now_s: float) -> bool:
        return not self._is_draining and not self.worth.is_resting(now_s)

    def is_silent(self, now_s: float, timeout_s: float) -> bool:
        """Whether it has owed an answer for so long."""
        return bool(self._unanswered) and now_s - self._unanswered[0].sent_s > timeout_s

    def excuse(self) -> None:
        """Hold nothing against it that it has not answered so far."""
        self._unanswered.clear()

    def gain(self, session: PoolSession) -> None:
        """Begin to draft a sequence that nobody drafts."""
        self.sessions[session.name] = session
        session.assign(self.name)

    def lose(self, session: PoolSession) -> None:
        """Give up one of its sequences, which it will be told."""
        del self.sessions[session.name]
        if session.opened_with is not None:
            self._closings.append(session.name)
        session.assign(None)

    def post(self, target: str, max_context_tokens: int, now_s: float) -> News | None:
        """What it is told now of its sequences; None if nothing is new."""
        number = self._number + 1
        openings: list[Opening] = []
        advances: list[Advance] = []
        for session in self.sessions.values():
            if session.opened_with is None:
                openings.append(session.opening(number, max_context_tokens))
            elif session.has_news:
                advances.append(session.advance())
        closings, self._closings = self._closings, []
        if not (openings or advances or closings):
            return None
        self._number = number
        if len(self._unanswered) < _MAX_UNANSWERED:
            self._unanswered.append(_Sent(number, now_s))
        return News(target, number, tuple(openings), tuple(advances), tuple(closings))

    def take(self, answer: Answer, now_s: float) -> float | None:
        """Book an answer; returns the round trip of the news that it answers, if that is known."""
        self._num_other_sessions = max(0, answer.num_other_sessions)
        self._is_draining = self._is_draining or answer.is_draining
        sent_s = next((sent.sent_s for sent in self._unanswered if sent.number == answer.number), None)
        while self._unanswered and self._unanswered[0].number <= answer.number:
            self._unanswered.popleft()
        return None if sent_s is None else now_s - sent_s
