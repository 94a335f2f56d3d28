"""Drafting one round ahead: while the target verifies, guess how that ends and what comes then."""

from collections.abc import Sequence
from dataclasses import dataclass

from llama4coder.spec.draft_model import DraftModel
from llama4coder.spec.draft_steps import DraftSteps, GuessOf
from llama4coder.spec.fan_out import fan_out
from llama4coder.spec.forecast import Advance, Chain, Forecast, Opening
from llama4coder.spec.session import DraftSession
from llama4coder.spec.sessions import Sessions


@dataclass(frozen=True, slots=True)
class DrafterLimits:
    """How much is guessed."""

    max_draft_tokens: int = 8  # that the target verifies at once, and that follow each outcome
    max_forks: int = 8  # outcomes of one verification that are drafted for beside the main guess
    max_forks_per_place: int = 3
    max_sessions: int = 256
    max_step_tokens: int = 256  # of one step of the draft model, prompts and guesses

    @property
    def max_guess_tokens(self) -> int:
        """Of the main guess: what is verified, the token after that, and what follows."""
        return 2 * self.max_draft_tokens + 1


@dataclass(frozen=True, slots=True)
class _Goal:
    """How long a guess is to become in this round."""

    of: GuessOf
    num_tokens: int

    @property
    def is_reached(self) -> bool:
        return len(self.of.guess.token_ids) >= self.num_tokens


class TreeDrafter:
    """Implements `spec.forecast.Drafter` with a draft model.

    A round is one step in which sessions catch up, and one for each token that is drafted, in which the main guesses
    and all forks of all sessions are rows of one batch. A session whose guess came true has most of its next main guess
    from the round before, so that hits and misses cost the same.
    """

    def __init__(self, model: DraftModel, limits: DrafterLimits) -> None:
        self._model = model
        self._limits = limits
        self._sessions = Sessions(model.branches, limits.max_sessions)
        self._steps = DraftSteps(model, self._sessions, limits.max_step_tokens, limits.max_guess_tokens)
        self._waiting: dict[str, None] = {}  # names of sessions with news, in their order

    def open(self, opening: Opening) -> None:
        """See `Drafter.open`."""
        session = self._sessions.open(opening.session, opening.start, opening.sampling, opening.seed)
        self._commit(session, opening.token_ids)

    def advance(self, news: Advance) -> bool:
        """See `Drafter.advance`."""
        session = self._sessions.use(news.session)
        if session is None or news.start > session.end:
            return False
        self._commit(session, news.token_ids[session.end - news.start :])
        return True

    def close(self, session: str) -> None:
        """See `Drafter.close`."""
        self._sessions.close(session)

    def forecast(self) -> Sequence[Forecast]:
        """See `Drafter.forecast`."""
        used = (self._sessions.use(name) for name in self._waiting)
        waiting = [session for session in used if session is not None and session.token_ids]
        self._waiting.clear()
        if not waiting:
            return []
        caught_up = self._steps.catch_up(waiting, self._limits.max_draft_tokens)
        self._waiting.update((session.name, None) for session in caught_up.unfinished)
        if caught_up.ready:
            self._draft(caught_up.ready)
        return [_forecast(session) for session in (*caught_up.ready, *caught_up.unfinished)]

    def check_integrity(self) -> None:
        """Assert that every block is free or some guess's."""
        self._sessions.check_integrity()

    def _commit(self, session: DraftSession, token_ids: Sequence[int]) -> None:
        if token_ids:
            session.commit(token_ids)
            self._waiting[session.name] = None

    def _draft(self, sessions: Sequence[DraftSession]) -> None:
        goals = [self._main_goal(session) for session in sessions]
        goals += self._fork_goals(goals)
        for _ in range(self._limits.max_draft_tokens):
            goals = [goal for goal in goals if not goal.is_reached]
            if not goals:
                return
            self._steps.deepen([goal.of for goal in goals])

    def _main_goal(self, session: DraftSession) -> _Goal:
        """After catching up, which added a token."""
        num_verified = self._num_verified(session)
        return _Goal(GuessOf(session, session.tree.main), num_verified + 1 + self._limits.max_draft_tokens)

    def _num_verified(self, session: DraftSession) -> int:
        """Guesses that the target has, and may be verifying now."""
        return min(len(session.tree.main.token_ids) - 1, self._limits.max_draft_tokens)

    def _fork_goals(self, mains: Sequence[_Goal]) -> list[_Goal]:
        """New forks, as many as a step and the free blocks have room for: no other session is to lose its own."""
        branches, num_drafted = self._model.branches, self._limits.max_draft_tokens
        num_forks = min(self._limits.max_forks, self._limits.max_step_tokens // len(mains) - 1)
        num_blocks = sum(branches.num_blocks_to_extend(goal.of.guess.branch, num_drafted) for goal in mains)
        goals: list[_Goal] = []
        for session in (main.of.session for main in mains):
            counts = fan_out(
                self._num_verified(session), session.match_rate.value, num_forks, self._limits.max_forks_per_place
            )
            for wanted in session.tree.wanted_forks(counts):
                branch = session.fork_at(wanted.place)
                num_wanted = num_blocks + branches.num_blocks_to_extend(branch, num_drafted)
                if num_wanted > branches.num_free_blocks:
                    branches.release(branch)
                    return goals
                num_blocks = num_wanted
                goals.append(_Goal(GuessOf(session, session.tree.fork(wanted, branch)), wanted.place + 1 + num_drafted))
        return goals


def _forecast(session: DraftSession) -> Forecast:
    """Without chains while the prompt is being computed."""
    tree = session.tree
    chains = tuple(Chain(session.end, tuple(guess.token_ids)) for guess in tree.guesses if guess.token_ids)
    return Forecast(session.name, session.end, chains)
