"""A replica's side of the draft pool, without sockets and clocks: one drafter for the sequences of many targets."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from llama4coder.spec.forecast import Advance, Drafter, Forecast, Opening
from llama4coder.spec.pool_messages import Answer, News


@dataclass(slots=True)
class _Target:
    """What is known of one target."""

    number: int  # of the newest news
    heard_s: float
    is_waiting: bool = True  # for an answer
    wanted: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Session:
    target: str
    heard_s: float


class PoolHost:
    """Passes every target's news to the drafter, and the drafter's forecasts to whom they are for; for one thread.

    Sessions and targets that were not heard of for `session_timeout_s` are forgotten: a target that has died, or been
    started anew, says no goodbye.
    """

    def __init__(self, drafter: Drafter, session_timeout_s: float) -> None:
        self._drafter = drafter
        self._session_timeout_s = session_timeout_s
        self._targets: dict[str, _Target] = {}
        self._sessions: dict[str, _Session] = {}
        self._is_draining = False

    @property
    def num_sessions(self) -> int:
        return len(self._sessions)

    @property
    def sessions(self) -> frozenset[str]:
        return frozenset(self._sessions)

    @property
    def targets(self) -> frozenset[str]:
        return frozenset(self._targets)

    def receive(self, news: News, now_s: float) -> None:
        """Pass on what a target says, unless it is older than what it has said before."""
        target = self._targets.setdefault(news.target, _Target(number=-1, heard_s=now_s))
        if news.number <= target.number:
            return
        target.number, target.heard_s, target.is_waiting = news.number, now_s, True
        for session in news.closings:
            self._close(news.target, session)
        for opening in news.openings:
            self._open(news.target, opening, now_s)
        for advance in news.advances:
            if not self._advance(news.target, advance, now_s):
                target.wanted.add(advance.session)

    def round(self, now_s: float) -> Mapping[str, Answer]:
        """Draft once for all sessions with news; returns what each target that waits, or gets something, is to be sent.

        It is empty when there is nothing to do until news come.
        """
        self._forget_silent(now_s)
        forecasts: dict[str, list[Forecast]] = {}
        for forecast in self._drafter.forecast():
            session = self._sessions.get(forecast.session)
            if session is not None:
                forecasts.setdefault(session.target, []).append(forecast)
        due = {name for name, target in self._targets.items() if target.is_waiting or name in forecasts}
        return {name: self._answer(name, tuple(forecasts.get(name, ()))) for name in due}

    def drain(self) -> Mapping[str, Answer]:
        """Say from now on that it will soon be gone; returns what every target is to be sent at once."""
        self._is_draining = True
        return {name: self._answer(name, ()) for name in self._targets}

    def _answer(self, name: str, forecasts: tuple[Forecast, ...]) -> Answer:
        target = self._targets[name]
        wanted, target.wanted, target.is_waiting = tuple(target.wanted), set(), False
        num_others = sum(session.target != name for session in self._sessions.values())
        return Answer(target.number, forecasts, wanted, num_others, self._is_draining)

    def _open(self, target: str, opening: Opening, now_s: float) -> None:
        if self._is_foreign(target, opening.session):
            return
        self._sessions[opening.session] = _Session(target, now_s)
        self._targets[target].wanted.discard(opening.session)
        self._drafter.open(opening)

    def _advance(self, target: str, advance: Advance, now_s: float) -> bool:
        if advance.session not in self._sessions or self._is_foreign(target, advance.session):
            return False
        self._sessions[advance.session].heard_s = now_s
        return self._drafter.advance(advance)

    def _close(self, target: str, session: str) -> None:
        if session in self._sessions and not self._is_foreign(target, session):
            del self._sessions[session]
            self._targets[target].wanted.discard(session)
            self._drafter.close(session)

    def _is_foreign(self, target: str, session: str) -> bool:
        """Whether a session is another target's, which it would be by mistake only."""
        return session in self._sessions and self._sessions[session].target != target

    def _forget_silent(self, now_s: float) -> None:
        limit_s = now_s - self._session_timeout_s
        for name in [name for name, session in self._sessions.items() if session.heard_s < limit_s]:
            self._close(self._sessions[name].target, name)
        busy = {session.target for session in self._sessions.values()}
        for name in [name for name, one in self._targets.items() if one.heard_s < limit_s and name not in busy]:
            del self._targets[name]
