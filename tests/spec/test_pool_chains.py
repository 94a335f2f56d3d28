"""Which guesses still apply."""

from hypothesis import given
from hypothesis import strategies as st

from llama4coder.spec.forecast import Chain, Forecast
from llama4coder.spec.pool_chains import Chains

TOKENS = st.lists(st.integers(0, 2), max_size=12)
CHAINS = st.builds(Chain, start=st.integers(-2, 14), token_ids=TOKENS.map(tuple))


def chains_of(*forecasts: Forecast) -> Chains:
    chains = Chains()
    for forecast in forecasts:
        chains.add(forecast)
    return chains


def test_the_remainder_of_a_chain_that_agrees() -> None:
    chains = chains_of(Forecast("s", 7, (Chain(7, (50, 51, 52, 53)), Chain(7, (50, 60, 61, 62, 63)))))
    sequence = [0, 1, 2, 3, 4, 5, 6]
    assert chains.draft(sequence) == (50, 60, 61, 62, 63), "the longest"
    assert chains.draft([*sequence, 50, 51]) == (52, 53)
    assert chains.draft([*sequence, 50, 60]) == (61, 62, 63)
    assert chains.draft([*sequence, 49]) == ()
    assert chains.draft([*sequence, 50, 51, 52, 53]) == (), "it ends there"
    assert chains.draft(sequence[:-1]) == (), "it begins later"


def test_of_equally_long_ones_the_likelier() -> None:
    assert chains_of(Forecast("s", 1, (Chain(1, (5, 6)), Chain(1, (7, 8))))).draft([0]) == (5, 6)


def test_only_the_two_newest_count() -> None:
    forecasts = [Forecast("s", n, (Chain(n, (n, n + 1, n + 2, n + 3)),)) for n in (3, 1, 2)]
    chains = chains_of(*forecasts)
    assert chains.num_tokens == 3
    assert chains.draft([0, 1, 2]) == (3, 4, 5, 6)
    assert chains.draft([0, 1]) == (2, 3, 4, 5)
    assert chains.draft([0]) == (), "that one was the oldest, though it came in between"


def test_a_repeated_forecast_takes_no_room() -> None:
    first, second = (Forecast("s", n, (Chain(n, (9,)),)) for n in (1, 2))
    assert chains_of(first, second, second, second).draft([0]) == (9,)


def test_what_no_honest_replica_sends_is_not_kept() -> None:
    chains = chains_of(Forecast("s", 1, (Chain(1, tuple(range(100_000))),)), Forecast("s", 1, (Chain(1, ()),) * 10_000))
    assert chains.num_tokens == 0


@given(TOKENS, st.lists(CHAINS, max_size=6))
def test_a_draft_follows_the_tokens_in_some_chain(tokens: list[int], guesses: list[Chain]) -> None:
    draft = chains_of(Forecast("s", 5, tuple(guesses))).draft(tokens)
    held = [guess.token_ids[len(tokens) - guess.start :] for guess in guesses if _holds(guess, tokens)]
    assert draft == max(held, key=len, default=())


def _holds(chain: Chain, tokens: list[int]) -> bool:
    """Whether the chain's tokens stand at their places in the sequence, which it continues."""
    if not 0 <= chain.start <= len(tokens) < chain.start + len(chain.token_ids):
        return False
    return all(chain.token_ids[place - chain.start] == tokens[place] for place in range(chain.start, len(tokens)))
