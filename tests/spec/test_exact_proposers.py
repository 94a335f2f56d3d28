"""Whoever proposes, sound or broken, near or far: the answers are those of plain decoding, token for token."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from llama4coder.engine.engine import Engine
from llama4coder.engine.loading_rank import load_runner
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.obs.stats import NullObserver
from llama4coder.progress import NullProgress
from llama4coder.resolved import ResolvedConfig
from llama4coder.spec.drafter import DrafterLimits, TreeDrafter
from llama4coder.spec.local import LocalLimits, LocalProposer
from llama4coder.spec.ngram import NgramProposer
from llama4coder.spec.speculator import Speculator
from llama4coder.spec.step_times import StepTimes
from llama4coder.spec.types import Proposer
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions
from tests.support.draft_counts import DraftCounts
from tests.support.drafts import load_draft
from tests.support.engines import build_engine, resolved, run_all
from tests.support.models import TINY, write_tiny_llama
from tests.support.pool_links import HostLinks, proposer_of
from tests.support.proposers import all_fakes
from tests.support.unreliable import BAD, UnreliableLinks

NUM_TOKENS = 40
MAX_DRAFT_TOKENS = 4
LIMITS = DrafterLimits(max_draft_tokens=MAX_DRAFT_TOKENS, max_forks=4)
SAMPLINGS = {
    "greedy": SamplingParams(temperature=0.0),
    "0.3": SamplingParams(temperature=0.3, top_p=0.9),
    "0.8": SamplingParams(temperature=0.8, top_p=0.9),
    "1.2": SamplingParams(temperature=1.2, top_p=0.95),
}


class FlatTimes(StepTimes):
    """Every step takes as long as any other, so that every guess is worth its time."""

    def predict(self, num_tokens: int, max_extra: int) -> NDArray[np.float64]:
        return np.ones(max_extra + 1)


@dataclass(frozen=True)
class Models:
    """A target, and drafts that are right always or hardly ever."""

    target: Path
    stranger: Path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    made = Models(tmp_path_factory.mktemp("target"), tmp_path_factory.mktemp("stranger"))
    write_tiny_llama(made.target)
    write_tiny_llama(made.stranger, num_hidden_layers=1)
    return made


def requests(sampling: SamplingParams, number: int) -> list[GenerateRequest]:
    """Prompts that repeat themselves, so that n-grams find something."""
    return [
        GenerateRequest(
            str(index),
            tuple((7 * index + place % (5 + index)) % 500 for place in range(12 + 5 * index)),
            sampling,
            StopConditions(NUM_TOKENS),
            seed=index,
        )
        for index in range(number)
    ]


def config_of(target: Path) -> ResolvedConfig:
    return resolved(target, num_blocks=300)


@cache
def plain(target: Path, sampling: str, number: int) -> Mapping[str, list[int]]:
    """What nobody's guesses may change."""
    results = run_all(build_engine(config_of(target)), requests(SAMPLINGS[sampling], number))
    return {name: result.token_ids for name, result in results.items()}


def assert_same(target: Path, sampling: str, number: int, proposer: Proposer) -> DraftCounts:
    """With the proposer's guesses as without."""
    counting, config = DraftCounts(), config_of(target)
    speculator = Speculator(proposer, TINY["vocab_size"], MAX_DRAFT_TOKENS, counting, FlatTimes())
    executor = LocalExecutor(load_runner(config, NullProgress()).launch)
    engine = Engine(config, executor, NullObserver(), speculator)
    results = run_all(engine, requests(SAMPLINGS[sampling], number))
    engine.close()
    assert {name: result.token_ids for name, result in results.items()} == plain(target, sampling, number)
    return counting


def pool_of(folder: Path, number: int, wrap: Callable[[HostLinks], HostLinks | UnreliableLinks]) -> Proposer:
    links = HostLinks({f"draft {index}": TreeDrafter(load_draft(folder), LIMITS) for index in range(number)})
    return proposer_of(wrap(links), links.endpoints)


LOCAL = LocalLimits(max_draft_tokens=MAX_DRAFT_TOKENS)
REAL: Mapping[str, Callable[[Models], Proposer]] = {
    "n-gram": lambda _: NgramProposer(),
    "local": lambda models: LocalProposer(load_draft(models.target), LOCAL),
    "local stranger": lambda models: LocalProposer(load_draft(models.stranger), LOCAL),
    "pool": lambda models: pool_of(models.target, 1, lambda links: links),
    "pool of strangers": lambda models: pool_of(models.stranger, 2, lambda links: links),
    "unreliable pool": lambda models: pool_of(models.target, 2, lambda links: UnreliableLinks(links, BAD)),
}


@pytest.mark.parametrize("number", [1, 16])
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("name", REAL)
def test_real_ones(models: Models, name: str, sampling: str, number: int) -> None:
    counting = assert_same(models.target, sampling, number, REAL[name](models))
    if name in ("local", "pool"):
        assert counting.num_accepted > 0.6 * counting.num_drafted > 10 * number
    elif name == "unreliable pool":
        assert counting.num_accepted > 0


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("name", sorted(all_fakes({})))
def test_fakes(models: Models, name: str, sampling: str) -> None:
    fake = all_fakes(plain(models.target, sampling, 6))[name]
    counting = assert_same(models.target, sampling, 6, fake)
    if name in ("AlwaysRight", "TooLong", "OutOfVocabulary"):
        assert counting.num_accepted == counting.num_drafted > 0
    elif name == "NeverRight":
        assert counting.num_accepted == 0 < counting.num_drafted
