"""What may come after the committed tokens of one sequence: a main guess, and forks of it for other outcomes.

    committed t6 t7 | d0 d1 d2 d3 d4 ...        the main guess
                    | x0 e1 e2 ...              a fork at place 0: d0 was wrong
                    | d0 d1 x2 e3 e4 ...        a fork at place 2: d0 d1 were right, d2 was wrong

When tokens are committed, guesses that begin with them lose these and stay; all others are wrong and go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from llama4coder.spec.branches import Branch


class Guess:
    """Tokens that may follow the committed ones.

    `ranked[i]` are the tokens that may come in the place of `token_ids[i]`, which is the first of them in the main
    guess, best first. `branch` holds keys and values of the committed tokens and of these, as far as computed.
    """

    __slots__ = ("branch", "fork_place", "ranked", "token_ids")

    def __init__(
        self, branch: Branch, token_ids: list[int], ranked: list[tuple[int, ...]], fork_place: int = 0
    ) -> None:
        self.branch = branch
        self.token_ids = token_ids
        self.ranked = ranked
        self.fork_place = fork_place  # of a fork: the place of its first token that the main guess does not have

    def add(self, ranked: tuple[int, ...]) -> None:
        """Go on with the best of the tokens that may come next."""
        self.ranked.append(ranked)
        self.token_ids.append(ranked[0])

    def num_common(self, token_ids: Sequence[int]) -> int:
        """How many of the first tokens are these."""
        pairs = zip(self.token_ids, token_ids, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    def drop_first(self, num_tokens: int) -> None:
        """They have been committed."""
        del self.token_ids[:num_tokens], self.ranked[:num_tokens]

    def leaves(self, main: "Guess") -> bool:
        """Find the place where this guess has another token than the main one; False if it only repeats that one."""
        self.fork_place = self.num_common(main.token_ids)
        return self.fork_place < len(self.token_ids)


@dataclass(frozen=True, slots=True, repr=False)
class ForkWanted:
    """Another token for the main guess's `place`."""

    place: int
    token_id: int


@dataclass(frozen=True, slots=True)
class Followed:
    """What became of the guesses: those that are gone, and how many committed tokens the main one had."""

    gone: tuple[Guess, ...]
    num_right: int


class GuessTree:
    """All guesses of one sequence."""

    def __init__(self, main: Guess) -> None:
        self.main = main
        self.forks: list[Guess] = []

    @property
    def guesses(self) -> list[Guess]:
        """The main one first."""
        return [self.main, *self.forks]

    def follow(self, committed: Sequence[int]) -> Followed:
        """Move on by these tokens, at least one.

        If no guess has all of them, the main guess becomes the one that has the most, and loses all its tokens: its
        branch is right only as far as `num_right` says.
        """
        before = self.guesses
        # Of several that fit, whoever verifies takes the one that goes on longest, too.
        self.main = max(before, key=lambda guess: (guess.num_common(committed), len(guess.token_ids)))
        num_right = self.main.num_common(committed)
        self.forks = []
        if num_right == len(committed):
            others = [guess for guess in before if guess is not self.main and guess.num_common(committed) == num_right]
            for guess in (self.main, *others):
                guess.drop_first(num_right)
            self.forks = [guess for guess in others if guess.leaves(self.main)]
        else:
            self.main.drop_first(len(self.main.token_ids))
        return Followed(tuple(guess for guess in before if guess not in self.guesses), num_right)

    def wanted_forks(self, counts: Sequence[int]) -> list[ForkWanted]:
        """What is missing for `counts[i]` forks at each place i, of which the main guess has ranked tokens."""
        wanted = []
        for place, count in enumerate(counts):
            there = [fork.token_ids[place] for fork in self.forks if fork.fork_place == place]
            taken = {self.main.token_ids[place], *there}
            others = [token_id for token_id in self.main.ranked[place] if token_id not in taken]
            wanted += [ForkWanted(place, token_id) for token_id in others[: max(0, count - len(there))]]
        return wanted

    def fork(self, wanted: ForkWanted, branch: Branch) -> Guess:
        """Add a guess whose `branch` holds the main guess's tokens before the place."""
        token_ids = [*self.main.token_ids[: wanted.place], wanted.token_id]
        guess = Guess(branch, token_ids, self.main.ranked[: wanted.place + 1], wanted.place)
        self.forks.append(guess)
        return guess
