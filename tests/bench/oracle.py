"""Speculation with an acceptance that is set and not found: a target whose every token is known beforehand.

Steps, drafts and messages cost what they cost; only which tokens come of them is made up. So speed can be measured for
any acceptance with random weights, whose own continuations nobody could guess.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from llama4coder.engine.executor import Executor
from llama4coder.engine.pending import verified
from llama4coder.engine.plan import StepPlan, StepResult
from llama4coder.spec.forecast import Advance, Chain, Forecast, Opening
from llama4coder.spec.types import Draft, DraftQuery, DraftSource, RowOutcome
from llama4coder.types import GenerateRequest

_NUM_TOKEN_IDS = 400  # all below any vocabulary's size, and none of them special to a random model
_WRONG = 401


def token_at(seed: int, position: int) -> int:
    """The token that a request gets there."""
    return (seed * 7919 + position * 104729) % _NUM_TOKEN_IDS


@dataclass(frozen=True, slots=True)
class Odds:
    """How good guesses are."""

    acceptance: float  # of each token, given those before it
    hit_rate: float = 1.0  # how often an outcome other than the likeliest has been drafted for

    def guess(self, chance: Random, seed: int, start: int, num_tokens: int) -> tuple[int, ...]:
        """Of the tokens from `start` on."""
        return tuple(
            token_at(seed, start + index) if chance.random() < self.acceptance else _WRONG
            for index in range(num_tokens)
        )


class KnownTokens:
    """Implements `Executor`: another one's steps, with known tokens instead of what they sampled."""

    def __init__(self, inner: Executor) -> None:
        self._inner = inner
        self._seeds: dict[int, int] = {}  # by sequence
        self._plans: list[StepPlan] = []

    def submit(self, plan: StepPlan) -> None:
        """See `Executor.submit`."""
        self._seeds.update((new.seq_id, new.seed) for new in plan.new)
        self._plans.append(plan)
        self._inner.submit(plan)

    def ready(self, timeout_s: float) -> bool:
        """See `Executor.ready`."""
        return self._inner.ready(timeout_s)

    def collect(self, timeout_s: float) -> StepResult:
        """See `Executor.collect`."""
        result, plan = self._inner.collect(timeout_s), self._plans.pop(0)
        known = {
            row.seq_id: [token_at(self._seeds[row.seq_id], row.num_known + index) for index in range(row.num_sampled)]
            for row in plan.rows
        }
        drafts = {row.seq_id: row.draft_token_ids for row in plan.rows}
        rows = tuple(
            replace(row, token_ids=verified(drafts[row.seq_id], iter(known[row.seq_id]))) for row in result.rows
        )
        return replace(result, rows=rows)

    def close(self) -> None:
        """See `Executor.close`."""
        self._inner.close()


class BesideProposer:
    """Implements `Proposer` like a draft model beside the target: the steps are true ones, the guesses are made up."""

    def __init__(self, draft: Callable[[int, int], None], odds: Odds) -> None:
        self._draft = draft  # so many rows, so many tokens each
        self._odds = odds
        self._chance = Random(0)
        self._seeds: dict[str, int] = {}

    def begin(self, request: GenerateRequest) -> None:
        """See `Proposer.begin`."""
        self._seeds[request.request_id] = request.seed

    def may_guess(self, request_id: str) -> bool:
        """See `Proposer.may_guess`."""
        return request_id in self._seeds

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, Draft]:
        """See `Proposer.propose`."""
        self._draft(len(queries), max(query.max_tokens for query in queries))
        return {
            query.request_id: Draft(
                self._odds.guess(self._chance, self._seeds[query.request_id], len(query.token_ids), query.max_tokens),
                DraftSource.LOCAL,
            )
            for query in queries
        }

    def observe(self, outcomes: Sequence[RowOutcome]) -> None:
        """See `Proposer.observe`."""

    def end(self, request_id: str) -> None:
        """See `Proposer.end`."""
        self._seeds.pop(request_id, None)

    def close(self) -> None:
        """See `Proposer.close`."""


@dataclass(slots=True)
class _Session:
    seed: int
    num_tokens: int
    has_news: bool = True


class TimedDrafter:
    """Implements `Drafter`: a round takes as long as it was measured to take, and guesses as well as it is told to."""

    def __init__(self, round_s: Callable[[int], float], odds: Odds, num_draft_tokens: int) -> None:
        self._round_s = round_s  # by the number of sessions
        self._odds = odds
        self._num_draft_tokens = num_draft_tokens
        self._chance = Random(0)
        self._sessions: dict[str, _Session] = {}

    def open(self, opening: Opening) -> None:
        """See `Drafter.open`."""
        self._sessions[opening.session] = _Session(opening.seed, opening.start + len(opening.token_ids))

    def advance(self, news: Advance) -> bool:
        """See `Drafter.advance`."""
        session = self._sessions.get(news.session)
        if session is None or news.start > session.num_tokens:
            return False
        session.has_news = session.has_news or news.end > session.num_tokens
        session.num_tokens = max(session.num_tokens, news.end)
        return True

    def close(self, session: str) -> None:
        """See `Drafter.close`."""
        self._sessions.pop(session, None)

    def forecast(self) -> Sequence[Forecast]:
        """See `Drafter.forecast`."""
        busy = {name: session for name, session in self._sessions.items() if session.has_news}
        if not busy:
            return []
        time.sleep(self._round_s(len(busy)))
        return [self._forecast(name, session) for name, session in busy.items()]

    def _forecast(self, name: str, session: _Session) -> Forecast:
        """What the target has now, what follows it, and where that goes wrong with luck the right way on."""
        session.has_news = False
        start, num_tokens = session.num_tokens, self._num_draft_tokens
        main = self._odds.guess(self._chance, session.seed, start, 2 * num_tokens + 1)
        chains = [Chain(start, main)]
        wrong = next((place for place, token in enumerate(main) if token == _WRONG), None)
        if wrong is not None and self._chance.random() < self._odds.hit_rate:
            right = token_at(session.seed, start + wrong)
            after = self._odds.guess(self._chance, session.seed, start + wrong + 1, num_tokens)
            chains.append(Chain(start, (*main[:wrong], right, *after)))
        return Forecast(name, start, tuple(chains))
