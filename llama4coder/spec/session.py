"""One sequence as a draft model sees it: the end of it, and what is guessed beyond."""

from collections.abc import Sequence

from llama4coder.sampling.sampler import SamplingRow
from llama4coder.spec.branches import Branch, BranchPool
from llama4coder.spec.fan_out import MatchRate
from llama4coder.spec.tree import Guess, GuessTree
from llama4coder.types import SamplingParams


class DraftSession:
    """Committed tokens in a window, and guesses; all keys and values may be dropped at any time and computed again.

    Positions of the draft model begin with the window, those of the noise with the sequence.
    """

    def __init__(self, branches: BranchPool, name: str, start: int, sampling: SamplingParams, seed: int) -> None:
        self.name = name
        self.start = start  # of the window in the sequence
        self.token_ids: list[int] = []  # committed, from there on
        self.match_rate = MatchRate()
        self._sampling = sampling
        self._seed = seed
        self._branches = branches
        self.tree = GuessTree(Guess(branches.new(), [], []))

    @property
    def end(self) -> int:
        """How many tokens of the sequence are committed."""
        return self.start + len(self.token_ids)

    def commit(self, token_ids: Sequence[int]) -> None:
        """More tokens, at least one; guesses that they contradict are dropped."""
        main = self.tree.main
        if main.token_ids:
            num_right = main.num_common(token_ids)
            self.match_rate.add(num_right, num_right < min(len(token_ids), len(main.token_ids)))
        followed = self.tree.follow(token_ids)
        for guess in followed.gone:
            self._branches.release(guess.branch)
        if followed.num_right < len(token_ids):
            branch = self.tree.main.branch
            num_right = len(self.token_ids) + followed.num_right
            self._branches.truncate(branch, min(branch.num_tokens, num_right))
        self.token_ids += token_ids

    @property
    def num_unfed(self) -> int:
        """Tokens of the main guess's sequence, committed ones included, that its branch does not hold."""
        return len(self.token_ids) + len(self.tree.main.token_ids) - self.tree.main.branch.num_tokens

    def unfed(self) -> list[int]:
        """These tokens: one at least, once anything is committed."""
        num_fed, main = self.tree.main.branch.num_tokens, self.tree.main
        if num_fed >= len(self.token_ids):
            return main.token_ids[num_fed - len(self.token_ids) :]
        return self.token_ids[num_fed:] + main.token_ids

    def choice_after(self, guess: Guess) -> SamplingRow:
        """How the target chooses the token that follows a guess."""
        return SamplingRow(self._sampling, self._seed, self.end + len(guess.token_ids))

    def fork_at(self, place: int) -> Branch:
        """A branch that holds what comes before a place of the main guess."""
        return self._branches.fork(self.tree.main.branch, len(self.token_ids) + place)

    def forget(self) -> None:
        """Give all blocks back, and the guesses with them."""
        for guess in self.tree.guesses:
            self._branches.release(guess.branch)
        self.tree = GuessTree(Guess(self._branches.new(), [], []))

    def cut(self, num_kept: int) -> None:
        """Begin the window so many tokens before the end of what is committed; everything is to be computed again."""
        self.forget()
        num_dropped = max(0, len(self.token_ids) - num_kept)
        del self.token_ids[:num_dropped]
        self.start += num_dropped
