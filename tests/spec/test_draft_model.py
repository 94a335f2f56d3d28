"""The draft model against transformers: whatever shares its blocks, each branch computes what its own tokens say."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from llama4coder.sampling.sampler import SamplingRow
from llama4coder.spec.draft_model import DraftModel, Feed
from llama4coder.spec.ranking import Ranking
from llama4coder.types import SamplingParams
from tests.support.drafts import Reference, load_draft
from tests.support.models import TINY, write_tiny_llama

GREEDY = SamplingParams(temperature=0.0)
WARM = SamplingParams(temperature=0.8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="module")
def reference(folder: Path) -> LlamaForCausalLM:
    return write_tiny_llama(folder)


@pytest.fixture
def draft(folder: Path, reference: LlamaForCausalLM) -> DraftModel:
    return load_draft(folder)


def tokens(num_tokens: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, TINY["vocab_size"], (num_tokens,), generator=generator).tolist()


def row(sampling: SamplingParams, position: int) -> SamplingRow:
    return SamplingRow(sampling, 7, position)


@pytest.mark.parametrize("sampling", [GREEDY, WARM])
def test_chunks_single_tokens_and_forks_in_one_step(
    draft: DraftModel, reference: LlamaForCausalLM, sampling: SamplingParams
) -> None:
    target = Reference(reference, sampling, seed=7)
    prompts = [tokens(37), tokens(5, seed=1), tokens(50, seed=2)]
    branches = [draft.branches.new() for _ in prompts]
    assert draft.extend([Feed(branches[0], prompts[0][:20], None)]) == [()]
    feeds = [
        Feed(branch, prompt[branch.num_tokens :], row(sampling, len(prompt)))
        for branch, prompt in zip(branches, prompts, strict=True)
    ]
    ranked = draft.extend([*feeds[:2], Feed(branches[2], prompts[2][:48], None)])
    assert [list(best) for best in ranked] == [target.ranked(prompt)[:4] for prompt in prompts[:2]] + [[]]
    fork = draft.branches.fork(branches[0], 33)
    texts = [[*prompts[0], 3], [*prompts[0][:33], 4, 5], prompts[2]]
    feeds = [
        Feed(branches[0], [3], row(sampling, 38)),
        Feed(fork, [4, 5], row(sampling, 35)),
        Feed(branches[2], prompts[2][48:], row(sampling, 50)),
    ]
    assert [list(best) for best in draft.extend(feeds)] == [target.ranked(text)[:4] for text in texts]
    draft.branches.check_integrity([*branches, fork])


def test_a_branch_goes_on_from_where_it_was_cut(draft: DraftModel, reference: LlamaForCausalLM) -> None:
    target = Reference(reference, GREEDY, seed=7)
    branch, prompt = draft.branches.new(), tokens(30)
    draft.extend([Feed(branch, prompt, None)])
    fork = draft.branches.fork(branch, 30)
    draft.branches.truncate(branch, 21)
    changed = [*prompt[:21], 9, 8]
    ranked = draft.extend([Feed(branch, [9, 8], row(GREEDY, 23)), Feed(fork, [1], row(GREEDY, 31))])
    assert [best[0] for best in ranked] == [target.ranked(changed)[0], target.ranked([*prompt, 1])[0]]


def test_tokens_that_the_draft_does_not_know_do_no_harm(draft: DraftModel) -> None:
    branch = draft.branches.new()
    (ranked,) = draft.extend([Feed(branch, [5, TINY["vocab_size"], 2**40, -1], row(GREEDY, 4))])
    assert len(ranked) == 4


def test_ranking_obeys_filters_and_biases() -> None:
    logits = torch.tensor([[0.0, 4.0, 3.0, 2.0, 1.0]]).repeat(4, 1)
    samplings = [
        SamplingParams(temperature=0.7, top_k=1),
        SamplingParams(temperature=0.7, top_p=0.1),
        SamplingParams(temperature=0.0, logit_bias={0: 9.0}),
        SamplingParams(temperature=0.7, min_p=0.99),
    ]
    ranked = Ranking(num_ranked=2)(logits, [SamplingRow(params, 1, 5) for params in samplings])
    assert [best[0] for best in ranked] == [1, 1, 0, 1]
    assert all(len(set(best)) == 2 for best in ranked)


def test_ranking_perturbs_the_largest_logits_only() -> None:
    logits = torch.arange(100.0).repeat(2, 1) / 1000
    rows = [SamplingRow(SamplingParams(temperature=1.0), seed, 3) for seed in (1, 2)]
    ranked = Ranking(num_ranked=8, num_perturbed=10)(logits, rows)
    assert all(set(best) < set(range(90, 100)) for best in ranked)
    assert ranked[0] != ranked[1]
