"""A draft model beside the target, in the engine's own thread: it drafts while the target waits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llama4coder.spec.draft_model import DraftModel
from llama4coder.spec.draft_steps import DraftSteps, GuessOf
from llama4coder.spec.session import DraftSession
from llama4coder.spec.sessions import Sessions
from llama4coder.spec.types import Draft, DraftQuery, DraftSource, RowOutcome
from llama4coder.types import GenerateRequest


@dataclass(frozen=True, slots=True)
class LocalLimits:
    """How much is guessed at once."""

    max_draft_tokens: int = 8
    max_sessions: int = 64
    max_step_tokens: int = 256  # of one step of the draft model, prompts and guesses


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A session whose main guess is to have so many tokens."""

    session: DraftSession
    num_tokens: int

    @property
    def is_reached(self) -> bool:
        return len(self.session.tree.main.token_ids) >= self.num_tokens


class LocalProposer:
    """Implements `Proposer` with a draft model, for all queries in one batch.

    A call takes one step in which sequences catch up, and one for each further token. A prompt that is longer than a
    step is computed in as many calls, and gets no guess before.
    """

    def __init__(self, model: DraftModel, limits: LocalLimits) -> None:
        self._limits = limits
        self._requests: dict[str, GenerateRequest] = {}
        self._sessions = Sessions(model.branches, limits.max_sessions)
        self._steps = DraftSteps(model, self._sessions, limits.max_step_tokens, limits.max_draft_tokens)

    def begin(self, request: GenerateRequest) -> None:
        """See `Proposer.begin`."""
        self._sessions.close(request.request_id)
        self._requests[request.request_id] = request

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, Draft]:
        """See `Proposer.propose`."""
        known = [query for query in queries if query.request_id in self._requests]
        wanted = [self._wanted(query) for query in known[: self._limits.max_sessions]]
        self._grow(wanted)
        guesses = {item.session.name: item.session.tree.main.token_ids[: item.num_tokens] for item in wanted}
        return {name: Draft(tuple(guess), DraftSource.LOCAL) for name, guess in guesses.items() if guess}

    def may_guess(self, request_id: str) -> bool:
        """See `Proposer.may_guess`: as a rule it has something to say about every sequence."""
        return request_id in self._requests

    def observe(self, outcomes: Sequence[RowOutcome]) -> None:
        """See `Proposer.observe`; the next query tells it all."""

    def end(self, request_id: str) -> None:
        """See `Proposer.end`."""
        self._sessions.close(request_id)
        self._requests.pop(request_id, None)

    def close(self) -> None:
        """See `Proposer.close`."""
        for request_id in list(self._requests):
            self.end(request_id)

    def check_integrity(self) -> None:
        """Assert that every block is free or some guess's."""
        self._sessions.check_integrity()

    def _wanted(self, query: DraftQuery) -> _Wanted:
        session = self._session_of(query)
        new = query.token_ids[session.end :]
        if new:
            session.commit(new)
        return _Wanted(session, min(query.max_tokens, self._limits.max_draft_tokens))

    def _session_of(self, query: DraftQuery) -> DraftSession:
        session = self._sessions.use(query.request_id)
        if session is not None and session.end <= len(query.token_ids):
            return session
        request = self._requests[query.request_id]
        return self._sessions.open(query.request_id, 0, request.sampling, request.seed)

    def _grow(self, wanted: Iterable[_Wanted]) -> None:
        growing = [item for item in wanted if not item.is_reached]
        if not growing:
            return
        ready = self._steps.catch_up([item.session for item in growing], self._limits.max_draft_tokens).ready
        growing = [item for item in growing if item.session in ready]
        while growing := [item for item in growing if not item.is_reached]:
            self._steps.deepen([GuessOf(item.session, item.session.tree.main) for item in growing])
