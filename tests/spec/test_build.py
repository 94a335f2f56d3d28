"""Each method of the configuration leads to its speculation."""

from collections.abc import Iterator

import pytest

from llama4coder.config import SpeculationConfig
from llama4coder.errors import ConfigError
from llama4coder.obs.stats import NullObserver
from llama4coder.resolved import ResolvedConfig
from llama4coder.spec.build import beside_ngrams, build_speculation
from llama4coder.spec.types import DraftQuery, NoSpeculation, Proposer
from tests.support.proposer_contract import OUTPUT, PROMPT, ProposerContract, make_request, play
from tests.support.proposers import AlwaysRight


def config(**speculation: object) -> ResolvedConfig:
    return ResolvedConfig.model_construct(speculation=SpeculationConfig.model_validate(speculation))


class TestBesideNgrams(ProposerContract):
    @pytest.fixture
    def proposer(self) -> Iterator[Proposer]:
        yield beside_ngrams(AlwaysRight({"a": OUTPUT, "b": OUTPUT, "plain": OUTPUT, "asked": OUTPUT, "idle": OUTPUT}))


def test_none() -> None:
    assert isinstance(build_speculation(config(method="none"), 64, NullObserver()), NoSpeculation)


def test_ngram_takes_limits_from_the_configuration_and_the_model() -> None:
    speculation = build_speculation(config(method="ngram", max_draft_tokens=2), 7, NullObserver())
    loop = (1, 2, 3, 1, 2, 3)
    for name, prompt in (("short", loop), ("foreign", (8, 2, 3, 8, 2, 3))):
        speculation.begin(make_request(name, prompt))
        for _ in range(4):  # lengths are explored from one on
            guesses = speculation.propose([DraftQuery(name, prompt, 5)]).get(name, ())
        assert len(guesses) <= 2
        assert 8 not in guesses


def test_what_is_not_here_is_refused() -> None:
    with pytest.raises(ConfigError, match="pool"):
        build_speculation(config(method="pool"), 64, NullObserver())


def test_a_draft_model_is_asked_where_no_long_match_is_known() -> None:
    rounds = play(beside_ngrams(AlwaysRight({"a": OUTPUT})), make_request("a", PROMPT), OUTPUT, max_tokens=3)
    assert [round_.outcome.num_accepted for round_ in rounds] == [3, 3, 3, 3]
