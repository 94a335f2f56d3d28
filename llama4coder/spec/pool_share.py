"""Which replica of a pool drafts which of a target's sequences."""

import zlib
from collections.abc import Collection, Iterable

from llama4coder.spec.pool_replica import PoolReplica
from llama4coder.spec.pool_session import PoolSession

_REBALANCE_PERIOD_S = 1.0  # one sequence moves at a time, since its new replica has to read it all
_IMBALANCE = 1.5  # how much more than another one a replica must have to give up one that it knows


class PoolShare:
    """Spreads sequences over replicas by load; each stays where it is while its replica is there and of use."""

    def __init__(self, silence_timeout_s: float) -> None:
        self.replicas: dict[str, PoolReplica] = {}
        self._silence_timeout_s = silence_timeout_s
        self._looked_s = float("-inf")
        self._rebalanced_s = float("-inf")

    def set_replicas(self, names: Collection[str]) -> None:
        """The replicas that there are now."""
        for name in self.replicas.keys() - set(names):
            gone = self.replicas.pop(name)
            for session in [*gone.sessions.values()]:
                gone.lose(session)
        for name in names:
            if name not in self.replicas:
                self.replicas[name] = PoolReplica(name)

    def release(self, session: PoolSession) -> None:
        """Nobody shall draft it any more."""
        if session.replica is not None:
            self.replicas[session.replica].lose(session)

    def settle(self, sessions: Iterable[PoolSession], now_s: float) -> None:
        """Give every sequence that wants drafts to a replica that is of use, as far as there is one."""
        self._leave_useless(now_s)
        usable = [replica for replica in self.replicas.values() if replica.is_usable(now_s)]
        self._rebalance(usable, now_s)
        for session in sessions:
            if session.replica is not None and not session.is_wanted:
                self.release(session)
            elif session.replica is None and session.is_wanted and usable:
                _least_loaded(usable, session).gain(session)

    def _leave_useless(self, now_s: float) -> None:
        """Take away the sequences of replicas that are silent, useless or about to go."""
        was_idle = now_s - self._looked_s > self._silence_timeout_s / 2  # nobody has looked for answers meanwhile
        self._looked_s = now_s
        for replica in self.replicas.values():
            if was_idle:
                replica.excuse()
            elif replica.is_silent(now_s, self._silence_timeout_s):
                replica.excuse()
                replica.worth.rest(now_s)
            if not replica.is_usable(now_s):
                for session in [*replica.sessions.values()]:
                    replica.lose(session)

    def _rebalance(self, usable: list[PoolReplica], now_s: float) -> None:
        if len(usable) < 2 or now_s - self._rebalanced_s < _REBALANCE_PERIOD_S:
            return
        self._rebalanced_s = now_s
        fullest = max(usable, key=lambda replica: replica.load)
        emptiest = min(usable, key=lambda replica: replica.load)
        if fullest.sessions and fullest.load > _IMBALANCE * (emptiest.load + 1):
            shortest = min(fullest.sessions.values(), key=lambda session: len(session.token_ids))
            fullest.lose(shortest)
            emptiest.gain(shortest)


def _least_loaded(replicas: Iterable[PoolReplica], session: PoolSession) -> PoolReplica:
    """Of equally loaded ones not the same for all targets."""
    return min(replicas, key=lambda replica: (replica.load, zlib.crc32(f"{replica.name} {session.name}".encode())))
