"""The target's side of the draft pool, without sockets and clocks: what to tell the replicas, what to use of theirs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from llama4coder.obs.pool import PoolObserver
from llama4coder.spec.pool_messages import Answer, News
from llama4coder.spec.pool_session import PoolSession
from llama4coder.spec.pool_share import PoolShare
from llama4coder.spec.types import Draft, DraftQuery, DraftSource, RowOutcome
from llama4coder.types import GenerateRequest

_EAGER_STEPS = 32  # after so many steps without a question new sequences are not opened before they are asked for


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """What a target grants its pool."""

    silence_timeout_s: float  # a replica that owes an answer for so long is not counted on
    max_context_tokens: int  # of a sequence, its last ones


class PoolClient:
    """Keeps what the replicas foresee of a target's sequences, and what each of them still has to be told.

    It hears of everything (`begin`, `observe`, `receive`, ...), and is asked for drafts and for what is to be sent; all
    times are of one clock. Messages that are lost or late cost drafts only: what was lost is told anew.
    """

    def __init__(self, target: str, limits: PoolLimits, observer: PoolObserver) -> None:
        self._target = target
        self._limits = limits
        self._observer = observer
        self._share = PoolShare(limits.silence_timeout_s)
        self._sessions: dict[str, PoolSession] = {}  # by request
        self._by_name: dict[str, PoolSession] = {}
        self._num_begun = 0
        self._steps_unasked = 0

    @property
    def num_sessions(self) -> int:
        return len(self._sessions)

    def set_replicas(self, names: Collection[str]) -> None:
        """The replicas that there are now; sequences of those that have gone are drafted by others."""
        self._share.set_replicas(names)

    def begin(self, request: GenerateRequest) -> None:
        """See `Proposer.begin`."""
        self.end(request.request_id)
        self._num_begun += 1
        name = f"{self._target}/{self._num_begun}"
        session = PoolSession(name, request, is_wanted=self._steps_unasked < _EAGER_STEPS)
        self._sessions[request.request_id] = self._by_name[name] = session

    def end(self, request_id: str) -> None:
        """See `Proposer.end`."""
        session = self._sessions.pop(request_id, None)
        if session is not None:
            self._share.release(session)
            del self._by_name[session.name]

    def observe(self, outcomes: Sequence[RowOutcome], now_s: float) -> None:
        """See `Proposer.observe`."""
        self._steps_unasked += 1
        verdicts: dict[str, list[bool]] = {}  # by replica
        for outcome in outcomes:
            session = self._sessions.get(outcome.request_id)
            if session is not None:
                self._judge(session, outcome.new_token_ids, verdicts)
                session.step(outcome.new_token_ids)
        for name, verdict in verdicts.items():
            self._share.replicas[name].worth.count(sum(verdict) / len(verdict), now_s)

    def may_guess(self, request_id: str) -> bool:
        """See `Proposer.may_guess`."""
        self._steps_unasked = 0
        session = self._sessions.get(request_id)
        return session is not None and session.may_guess()

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, Draft]:
        """See `Proposer.propose`."""
        self._steps_unasked = 0
        drafts = {}
        for query in queries:
            session = self._sessions.get(query.request_id)
            draft = session.look_up(query.token_ids, query.max_tokens) if session is not None else ()
            if draft:
                drafts[query.request_id] = Draft(draft, DraftSource.POOL)
        return drafts

    def receive(self, replica_name: str, answer: Answer, now_s: float) -> None:
        """Take what a replica has sent."""
        replica = self._share.replicas.get(replica_name)
        if replica is None:
            return
        round_trip_s = replica.take(answer, now_s)
        if round_trip_s is not None:
            self._observer.on_pool_round_trip(round_trip_s)
        for forecast in answer.forecasts:
            if forecast.session in replica.sessions:
                replica.sessions[forecast.session].take(forecast)
        for name in answer.wanted:
            if name in replica.sessions:
                replica.sessions[name].reopen(answer.number)

    def news(self, now_s: float) -> Mapping[str, News]:
        """What is to be sent now, by replica."""
        self._share.settle(self._sessions.values(), now_s)
        news = {}
        for replica in self._share.replicas.values():
            posted = replica.post(self._target, self._limits.max_context_tokens, now_s)
            if posted is not None:
                news[replica.name] = posted
        return news

    def _judge(self, session: PoolSession, new_token_ids: Sequence[int], verdicts: dict[str, list[bool]]) -> None:
        """Book what was found for a step, now that its outcome is known."""
        if session.found is None:
            return
        self._observer.on_pool_lookup(session.found.kind)
        if session.replica is not None and session.should_be_answered:
            verdicts.setdefault(session.replica, []).append(session.found.was_useful(new_token_ids))
