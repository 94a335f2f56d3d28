"""The tree of guesses under random commits, and where forks go."""

from hypothesis import given
from hypothesis import strategies as st

from llama4coder.spec.branches import Branch
from llama4coder.spec.fan_out import MatchRate, fan_out
from llama4coder.spec.tree import ForkWanted, Guess, GuessTree

TOKENS = st.integers(0, 2)  # few, so that guesses and commits agree by chance
RANKED = st.permutations([0, 1, 2]).map(tuple)


@st.composite
def trees(draw: st.DrawFn) -> GuessTree:
    """A main guess with forks that differ from it in the place where they leave it."""
    ranked = draw(st.lists(RANKED, max_size=5))
    tree = GuessTree(Guess(Branch([], 0), [row[0] for row in ranked], list(ranked)))
    counts = draw(st.lists(st.integers(0, 2), max_size=len(ranked)))
    for wanted in tree.wanted_forks(counts):
        fork = tree.fork(wanted, Branch([], 0))
        for row in draw(st.lists(RANKED, max_size=3)):
            fork.add(row)
    return tree


@given(trees(), st.lists(TOKENS, min_size=1, max_size=6))
def test_guesses_that_came_true_stay_and_all_others_go(tree: GuessTree, committed: list[int]) -> None:
    before = {id(guess): list(guess.token_ids) for guess in tree.guesses}
    guesses = tree.guesses
    followed = tree.follow(committed)
    assert {id(guess) for guess in (*followed.gone, *tree.guesses)} == {id(guess) for guess in guesses}
    assert not set(followed.gone) & set(tree.guesses)
    for guess in tree.forks:
        assert committed + guess.token_ids == before[id(guess)] and guess.token_ids
    main = before[id(tree.main)]
    assert main[: followed.num_right] == committed[: followed.num_right]
    fitting = [tokens for tokens in before.values() if tokens[: len(committed)] == committed]
    if fitting:
        assert committed + tree.main.token_ids == max(fitting, key=len)
        kept = [committed + guess.token_ids for guess in tree.guesses]
        assert all(any(tokens == longer[: len(tokens)] for longer in kept) for tokens in fitting), (
            "a good guess has gone"
        )
    else:
        assert not tree.main.token_ids and not tree.forks
        assert all(
            tokens[: followed.num_right + 1] != committed[: followed.num_right + 1] for tokens in before.values()
        )
    for guess in tree.guesses:
        assert len(guess.ranked) == len(guess.token_ids)
        assert all(token_id in row for token_id, row in zip(guess.token_ids, guess.ranked, strict=True))


@given(trees(), st.lists(TOKENS, min_size=1, max_size=3), st.lists(st.integers(0, 3), max_size=5))
def test_forks_are_different_and_leave_the_main_guess_where_they_say(
    tree: GuessTree, committed: list[int], counts: list[int]
) -> None:
    tree.follow(committed)
    for wanted in tree.wanted_forks(counts[: len(tree.main.token_ids)]):
        tree.fork(wanted, Branch([], 0))
    main = tree.main.token_ids
    assert len({tuple(guess.token_ids) for guess in tree.guesses}) == len(tree.guesses)
    for fork in tree.forks:
        assert fork.token_ids[: fork.fork_place] == main[: fork.fork_place]
        assert fork.token_ids[fork.fork_place] != main[fork.fork_place]


def test_forks_take_the_next_best_tokens_and_count_those_that_are_there() -> None:
    tree = GuessTree(Guess(Branch([], 0), [5, 6], [(5, 7, 8), (6, 9, 1)]))
    assert tree.wanted_forks([2, 1]) == [ForkWanted(0, 7), ForkWanted(0, 8), ForkWanted(1, 9)]
    tree.fork(ForkWanted(0, 7), Branch([], 0))
    assert tree.wanted_forks([2, 1]) == [ForkWanted(0, 8), ForkWanted(1, 9)]
    assert tree.wanted_forks([1, 5]) == [ForkWanted(1, 9), ForkWanted(1, 1)]


@given(st.integers(0, 12), st.floats(0, 1), st.integers(-1, 40), st.integers(0, 4))
def test_fan_out_spends_its_budget_early_and_within_its_caps(
    num_guessed: int, acceptance: float, budget: int, cap: int
) -> None:
    counts = fan_out(num_guessed, acceptance, budget, cap)
    assert len(counts) == num_guessed + 1
    assert sum(counts) == max(0, min(budget, cap * (num_guessed + 1)))
    assert max(counts) <= cap
    assert counts == sorted(counts, reverse=True)


def test_fan_out_widens_where_guesses_fail_and_reaches_further_where_they_hold() -> None:
    assert fan_out(8, 0.3, 8, 4) == [4, 3, 1, 0, 0, 0, 0, 0, 0]
    assert fan_out(8, 0.9, 8, 4) == [1, 1, 1, 1, 1, 1, 1, 1, 0]
    assert fan_out(0, 0.7, 8, 3) == [3]


def test_match_rate_follows_what_happens() -> None:
    rate = MatchRate()
    assert rate.value == 0.7
    for _ in range(40):
        rate.add(3, False)
    assert rate.value > 0.95
    for _ in range(40):
        rate.add(0, True)
    assert rate.value < 0.05
