"""Local drafting: with the target's own weights every guess is right, whatever came between two queries."""

from dataclasses import replace
from pathlib import Path

import pytest
from transformers import LlamaForCausalLM

from llama4coder.spec.local import LocalLimits, LocalProposer
from llama4coder.spec.types import DraftQuery
from llama4coder.types import GenerateRequest, SamplingParams
from tests.support.drafts import Reference, load_draft
from tests.support.models import write_tiny_llama
from tests.support.proposer_contract import make_request, play

LIMITS = LocalLimits(max_draft_tokens=4, max_sessions=4, max_step_tokens=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> LlamaForCausalLM:
    return write_tiny_llama(folder)


@pytest.fixture
def proposer(folder: Path, model: LlamaForCausalLM) -> LocalProposer:
    return LocalProposer(load_draft(folder, num_ranked=1), LIMITS)


@pytest.fixture(params=[0.0, 0.8])
def sampling(request: pytest.FixtureRequest) -> SamplingParams:
    return SamplingParams(temperature=request.param)


def request_for(name: str, sampling: SamplingParams) -> GenerateRequest:
    return replace(make_request(name, prompt=[len(name), *range(30, 50)]), sampling=sampling)


def test_every_guess_is_right(proposer: LocalProposer, model: LlamaForCausalLM, sampling: SamplingParams) -> None:
    request = request_for("a", sampling)
    output = Reference(model, sampling, request.seed).continue_(request.prompt_token_ids, 23)
    rounds = play(proposer, request, output)
    assert [round_.outcome.num_accepted for round_ in rounds] == [4, 4, 4, 4, 3]
    proposer.check_integrity()


def test_sequences_of_any_lengths_and_histories_in_one_call(
    proposer: LocalProposer, model: LlamaForCausalLM, sampling: SamplingParams
) -> None:
    """One gets tokens that it did not guess, one many at once, one none at all."""
    texts = {}
    for name in ("a", "bb", "ccc"):
        request = request_for(name, sampling)
        proposer.begin(request)
        texts[name] = list(request.prompt_token_ids)
    target = Reference(model, sampling, request.seed)
    for more in ([], [9], [9, 8, 7, 6, 5, 4, 3, 2]):
        texts["bb"] += more
        texts["ccc"] += more[:1]
        drafts = proposer.propose([DraftQuery(name, text, 4 - len(name)) for name, text in texts.items()])
        for name, text in texts.items():
            assert list(drafts[name].token_ids) == target.continue_(text, 4 - len(name))
        proposer.check_integrity()


def test_a_long_prompt_takes_several_calls(proposer: LocalProposer) -> None:
    request = make_request("a", prompt=[5] * 150)
    proposer.begin(request)
    query = DraftQuery("a", request.prompt_token_ids, 4)
    assert [len(proposer.propose([query])) for _ in range(3)] == [0, 0, 1]


def test_more_sequences_than_memory(folder: Path, model: LlamaForCausalLM) -> None:
    proposer = LocalProposer(load_draft(folder, num_blocks=8, window_tokens=64), LIMITS)
    queries = []
    for name in "abcdef":
        proposer.begin(make_request(name, prompt=[5] * 30))
        queries.append(DraftQuery(name, [5] * 30, 4))
    for _ in range(3):
        assert 1 <= len(proposer.propose(queries)) <= 4
        proposer.check_integrity()
    for query in queries:
        assert proposer.propose([query])
        proposer.check_integrity()
