"""Steps of a draft model over many sessions at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from llama4coder.spec.branches import BranchPool
from llama4coder.spec.draft_model import DraftModel, Feed
from llama4coder.spec.session import DraftSession
from llama4coder.spec.sessions import Sessions
from llama4coder.spec.tree import Guess


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Sessions whose main guess has one more token now, and those that have more to compute before that."""

    ready: tuple[DraftSession, ...]
    unfinished: tuple[DraftSession, ...]


@dataclass(frozen=True, slots=True)
class GuessOf:
    """A guess and whose it is."""

    session: DraftSession
    guess: Guess


@dataclass(frozen=True, slots=True, repr=False)
class _Portion:
    """What a session feeds in one step."""

    session: DraftSession
    token_ids: Sequence[int]
    is_last: bool

    def num_blocks(self, branches: BranchPool, num_more: int) -> int:
        """To feed it, and so many more tokens if nothing is left to feed then."""
        num_tokens = len(self.token_ids) + (num_more if self.is_last else 0)
        return branches.num_blocks_to_extend(self.session.tree.main.branch, num_tokens)

    def feed(self) -> Feed:
        main = self.session.tree.main
        return Feed(main.branch, self.token_ids, self.session.choice_after(main) if self.is_last else None)


@dataclass(frozen=True, slots=True)
class DraftSteps:
    """What every way of drafting does with the model and its memory."""

    model: DraftModel
    sessions: Sessions
    max_step_tokens: int
    max_guess_tokens: int  # that a session may hold beyond the committed ones

    def catch_up(self, waiting: Sequence[DraftSession], num_more: int) -> CaughtUp:
        """One step that feeds what is known or guessed and not yet computed: all of it, or what the step has room for.

        Those with least to do come first, so that a long prompt keeps nobody waiting. There will be blocks for
        `num_more` tokens of each main guess that is ready. Sessions for which there is no memory are left out.
        """
        portions: list[_Portion] = []
        kept: set[DraftSession] = set()
        num_tokens_left, num_blocks = self.max_step_tokens, 0
        for session in sorted(waiting, key=lambda session: session.num_unfed):
            portion = self._portion(session, num_tokens_left)
            kept.add(session)
            num_wanted = num_blocks + portion.num_blocks(self.model.branches, num_more)
            if self.sessions.make_room(num_wanted, kept):
                portions.append(portion)
                num_blocks = num_wanted
                num_tokens_left -= len(portion.token_ids)
        self._feed(portions)
        return CaughtUp(
            ready=tuple(portion.session for portion in portions if portion.is_last),
            unfinished=tuple(portion.session for portion in portions if not portion.is_last),
        )

    def deepen(self, guesses: Sequence[GuessOf]) -> None:
        """One step that adds a token to each of these, whose last token alone is not computed yet."""
        feeds = [
            Feed(item.guess.branch, item.guess.token_ids[-1:], item.session.choice_after(item.guess))
            for item in guesses
        ]
        for item, ranked in zip(guesses, self.model.extend(feeds), strict=True):
            item.guess.add(ranked)

    def _portion(self, session: DraftSession, max_tokens: int) -> _Portion:
        max_positions = self.model.max_positions
        if len(session.token_ids) + self.max_guess_tokens > max_positions:
            session.cut(max_positions // 2)
        return _Portion(session, session.unfed()[:max_tokens], is_last=session.num_unfed <= max_tokens)

    def _feed(self, portions: Sequence[_Portion]) -> None:
        fed = [portion for portion in portions if portion.token_ids]
        if not fed:
            return
        for portion, ranked in zip(fed, self.model.extend([portion.feed() for portion in fed]), strict=True):
            if portion.is_last:
                portion.session.tree.main.add(ranked)
