"""Several ranks generate what one generates, token for token, in float32."""

from pathlib import Path

import pytest
import torch

from llama4coder.engine.engine import Engine
from llama4coder.engine.executor import DoneStep
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.obs.stats import NullObserver
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.shape import read_shape
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions
from tests.support.engines import build_engine, resolved, run_all
from tests.support.models import write_tiny_llama
from tests.support.thread_group import execute_on_all, make_shares

LAYOUTS = [ParallelLayout(2, 1), ParallelLayout(3, 1), ParallelLayout(6, 1)]


@pytest.fixture(scope="module", params=[False, True], ids=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    write_tiny_llama(
        path, hidden_size=96, num_attention_heads=12, num_key_value_heads=6, tie_word_embeddings=not request.param
    )
    return path


def parallel_engine(folder: Path, layout: ParallelLayout, **overrides: object) -> Engine:
    config = resolved(folder, **{"num_blocks": 64, **overrides})
    execute = execute_on_all(config, make_shares(read_shape(folder), layout))
    return Engine(config, LocalExecutor(lambda plan: DoneStep(execute(plan))), NullObserver())


def requests() -> list[GenerateRequest]:
    """Prompts that share a beginning, long and short ones, and every way to choose a token."""
    generator = torch.Generator().manual_seed(0)
    beginning = torch.randint(0, 512, (40,), generator=generator).tolist()
    ways = (
        SamplingParams(temperature=0.0),
        SamplingParams(temperature=1.0),
        SamplingParams(temperature=0.8, top_p=0.9, top_k=50),
        SamplingParams(temperature=1.0, min_p=0.05, num_logprobs=3),
        SamplingParams(temperature=0.7, repetition_penalty=1.2, logit_bias={5: 3.0, 500: 4.0}),
        SamplingParams(temperature=0.0, num_prompt_logprobs=2),
    )
    made = []
    for index in range(12):
        ending = torch.randint(0, 512, (1 + 7 * index,), generator=generator).tolist()
        prompt = tuple(beginning + ending if index % 2 else ending)
        stop = StopConditions(16, min_tokens=4, stop_token_ids=frozenset({7, 300}))
        made.append(GenerateRequest(str(index), prompt, ways[index % len(ways)], stop, seed=index))
    return made


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize(
    "overrides", [{}, {"max_step_tokens": 16, "max_sequences": 4, "num_blocks": 36}], ids=["", "tight"]
)
def test_ranks_together_generate_what_one_does(folder: Path, layout: ParallelLayout, overrides: dict[str, int]) -> None:
    expected = run_all(build_engine(resolved(folder, num_blocks=64)), requests())
    results = run_all(parallel_engine(folder, layout, **overrides), requests())
    for request_id, result in results.items():
        assert result.token_ids == expected[request_id].token_ids
        assert result.finish_reason == expected[request_id].finish_reason
        for found, wanted in zip(result.logprobs, expected[request_id].logprobs, strict=True):
            assert [top.token_id for top in found.top] == [top.token_id for top in wanted.top]
            assert found.chosen.logprob == pytest.approx(wanted.chosen.logprob, abs=1e-4)
        assert len(result.prompt_logprobs) == len(expected[request_id].prompt_logprobs)
