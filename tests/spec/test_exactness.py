"""Speculation cannot change the output: whoever guesses, and whatever happens to the request, token for token."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from llama4coder.engine.engine import Engine
from llama4coder.engine.loading_rank import load_runner
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.obs.stats import NullObserver
from llama4coder.progress import NullProgress
from llama4coder.resolved import ResolvedConfig
from llama4coder.spec.types import Speculation
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions
from tests.support.engines import Collected, build_engine, expect_short_outputs, resolved, run_all
from tests.support.models import TINY, write_tiny_llama
from tests.support.scripted import Scripted

VOCAB_SIZE = TINY["vocab_size"]
NUM_TOKENS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    write_tiny_llama(path)
    return path


def engine(config: ResolvedConfig, speculation: Speculation) -> Engine:
    return Engine(config, LocalExecutor(load_runner(config, NullProgress()).launch), NullObserver(), speculation)


def prompt(seed: int, length: int) -> tuple[int, ...]:
    return tuple(torch.randint(0, VOCAB_SIZE, (length,), generator=torch.Generator().manual_seed(seed)).tolist())


def requests(sampling: SamplingParams, number: int, **stop: object) -> list[GenerateRequest]:
    conditions = StopConditions(NUM_TOKENS, **stop)
    return [
        GenerateRequest(str(index), prompt(index, 5 + 9 * index), sampling, conditions, seed=index)
        for index in range(number)
    ]


def answers(results: Mapping[str, Collected]) -> dict[str, list[int]]:
    return {name: one.token_ids for name, one in results.items()}


SAMPLINGS = {
    "greedy": SamplingParams(temperature=0.0),
    "cool": SamplingParams(temperature=0.3, top_p=0.9),
    "warm": SamplingParams(temperature=0.8, top_p=0.9, top_k=50),
    "hot": SamplingParams(temperature=1.2, top_p=0.95, min_p=0.01),
    "penalties": SamplingParams(
        temperature=0.7, presence_penalty=0.5, frequency_penalty=0.7, repetition_penalty=1.3, logit_bias={3: 4.0}
    ),
}


@pytest.mark.parametrize("chance_right", [0.0, 0.8, 1.0])
@pytest.mark.parametrize("number", [1, 16])
@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_every_token_is_the_targets_own(
    folder: Path, sampling: SamplingParams, number: int, chance_right: float
) -> None:
    config, batch = resolved(folder, num_blocks=200), requests(sampling, number)
    expected = answers(run_all(build_engine(config), batch))
    speculation = Scripted(expected, chance_right)
    assert answers(run_all(engine(config, speculation), batch)) == expected
    assert speculation.num_drafted > 10 * number
    if chance_right == 1.0:
        assert speculation.num_accepted == speculation.num_drafted
    elif chance_right:
        assert 0.2 < speculation.num_accepted / speculation.num_drafted < 0.95


@pytest.mark.parametrize(
    "overrides",
    [{"num_blocks": 33}, {"max_step_tokens": 16, "max_sequences": 8}, {"prefix_caching": False}],
    ids=["preemption", "small-steps", "no-cache"],
)
def test_nor_does_it_with_preemption_chunks_or_without_cache(folder: Path, overrides: dict[str, object]) -> None:
    batch = requests(SAMPLINGS["warm"], 12)
    expected = answers(run_all(build_engine(resolved(folder, num_blocks=200)), batch))
    subject = engine(resolved(folder, **{"num_blocks": 200, **overrides}), Scripted(expected, 0.8))
    expect_short_outputs(subject)
    assert answers(run_all(subject, batch)) == expected
    assert ("num_blocks" in overrides) == (subject.scheduler.num_preemptions > 0)


def test_logprobs_are_those_of_plain_decoding(folder: Path) -> None:
    config = resolved(folder, num_blocks=200)
    batch = requests(SamplingParams(temperature=0.8, num_logprobs=2, num_prompt_logprobs=1), 4)
    expected = run_all(build_engine(config), batch)
    results = run_all(engine(config, Scripted(answers(expected), 0.8)), batch)
    for name, result in results.items():
        assert result.token_ids == expected[name].token_ids
        assert len(result.logprobs) == len(result.token_ids)
        for mine, plain in zip(result.logprobs, expected[name].logprobs, strict=True):
            assert mine.chosen.token_id == plain.chosen.token_id
            assert mine.chosen.logprob == pytest.approx(plain.chosen.logprob, abs=1e-4)
            assert [one.token_id for one in mine.top] == [one.token_id for one in plain.top]


def test_stop_tokens_and_their_minimum_hold(folder: Path) -> None:
    config = resolved(folder, num_blocks=200)
    plain = answers(run_all(build_engine(config), requests(SAMPLINGS["warm"], 6)))
    stop_ids = frozenset(tokens[20] for tokens in plain.values())
    batch = requests(SAMPLINGS["warm"], 6, stop_token_ids=stop_ids, min_tokens=10)
    expected = run_all(build_engine(config), batch)
    results = run_all(engine(config, Scripted(plain, 0.9)), batch)
    assert answers(results) == answers(expected)
    assert any(len(tokens) < NUM_TOKENS for tokens in answers(results).values())
    assert {name: one.finish_reason for name, one in results.items()} == {
        name: one.finish_reason for name, one in expected.items()
    }


def test_a_request_begun_elsewhere_goes_on(folder: Path) -> None:
    config, batch = resolved(folder, num_blocks=200), requests(SAMPLINGS["warm"], 3)
    expected = answers(run_all(build_engine(config), batch))
    moved = [replace(one, output_token_ids=tuple(expected[one.request_id][:13])) for one in batch]
    results = answers(run_all(engine(config, Scripted(expected, 0.8)), moved))
    assert results == {name: tokens[13:] for name, tokens in expected.items()}
