"""Every proposer, sound or broken, keeps to its contract."""

from collections.abc import Iterator

import pytest

from llama4coder.spec.draft_model import DraftModel
from llama4coder.spec.local import LocalLimits, LocalProposer
from llama4coder.spec.ngram import NgramProposer
from llama4coder.spec.types import DraftQuery, Proposer
from tests.support.drafts import load_draft
from tests.support.models import write_tiny_llama
from tests.support.proposer_contract import (
    OUTPUT,
    PROMPT,
    VOCAB_SIZE,
    LifecycleContract,
    ProposerContract,
    make_request,
    play,
)
from tests.support.proposers import AlwaysRight, Late, NeverRight, SometimesRight, all_fakes

CONTINUATIONS = {name: OUTPUT for name in ("a", "plain", "asked", "idle")}


class TestNgramProposer(ProposerContract):
    @pytest.fixture
    def proposer(self) -> Iterator[Proposer]:
        yield NgramProposer()


@pytest.fixture(scope="module")
def draft(tmp_path_factory: pytest.TempPathFactory) -> DraftModel:
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_llama(folder, vocab_size=VOCAB_SIZE)
    return load_draft(folder)


class TestLocalProposer(ProposerContract):
    @pytest.fixture
    def proposer(self, draft: DraftModel) -> Iterator[Proposer]:
        proposer = LocalProposer(draft, LocalLimits())
        yield proposer
        proposer.check_integrity()
        proposer.close()
        draft.branches.check_integrity([])


class TestAlwaysRight(ProposerContract):
    @pytest.fixture
    def proposer(self) -> Iterator[Proposer]:
        yield AlwaysRight(CONTINUATIONS)


class TestFakes(LifecycleContract):
    @pytest.fixture(params=sorted(all_fakes({})))
    def proposer(self, request: pytest.FixtureRequest) -> Iterator[Proposer]:
        yield all_fakes(CONTINUATIONS)[request.param]


def test_who_is_always_right_saves_the_most_steps() -> None:
    rounds = play(AlwaysRight({"a": OUTPUT}), make_request("a"), OUTPUT, max_tokens=3)
    assert [round_.outcome.num_accepted for round_ in rounds] == [3, 3, 3, 3]


def test_who_is_never_right_or_late_saves_none() -> None:
    output = tuple(range(40, 56))  # no token twice: what was right before is wrong now
    for proposer in (NeverRight({"a": output}), Late({"a": output})):
        assert len(play(proposer, make_request("a"), output)) == len(output)


def test_who_is_sometimes_right_is_so_by_its_seed() -> None:
    output = tuple(index % 50 for index in range(2000))
    rounds = [play(SometimesRight({"a": output}, 0.6, seed), make_request("a"), output, 1) for seed in (1, 1, 2)]
    accepted = [[round_.outcome.num_accepted for round_ in each] for each in rounds]
    assert accepted[0] == accepted[1] != accepted[2]
    assert 0.5 < sum(accepted[0]) / len(accepted[0]) < 0.7


def test_the_fakes_answer_about_the_length_they_are_asked_about() -> None:
    proposer = AlwaysRight({"a": OUTPUT})
    proposer.begin(make_request("a"))
    draft = proposer.propose([DraftQuery("a", (*PROMPT, *OUTPUT[:4]), 2)])["a"]
    assert draft.token_ids == OUTPUT[4:6]
