"""The embedded model on several ranks: real weights, in float32, against one rank."""

from pathlib import Path

import pytest

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.engine.engine import Engine
from llama4coder.engine.executor import DoneStep
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.env import cache_dir
from llama4coder.obs.stats import NullObserver
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.progress import NullProgress
from llama4coder.shape import read_shape
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import GenerateRequest
from tests.support.engines import Collected, build_engine, greedy_request, resolved, run_all
from tests.support.thread_group import execute_on_all, make_shares

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):\n",
    "import os\n\n\ndef list_files(path):\n",
    'package main\n\nimport "fmt"\n\nfunc main() {\n',
]
LIMITS = {"num_blocks": 64, "context_length": 512, "max_step_tokens": 32, "max_sequences": 8}


@pytest.fixture(scope="module")
def folder() -> Path:
    return find_checkpoint("embedded", cache_dir(), NullProgress())


@pytest.fixture(scope="module")
def requests(folder: Path) -> list[GenerateRequest]:
    tokenizer = Tokenizer.from_folder(folder)
    return [greedy_request(str(index), tokenizer.encode(text, add_bos=False), 24) for index, text in enumerate(PROMPTS)]


@pytest.fixture(scope="module")
def expected(folder: Path, requests: list[GenerateRequest]) -> dict[str, Collected]:
    return run_all(build_engine(resolved(folder, **LIMITS)), requests)


@pytest.mark.parametrize("layout", [ParallelLayout(1, 2), ParallelLayout(3, 1)], ids=str)
def test_greedy_output_is_that_of_one_rank(
    layout: ParallelLayout, folder: Path, requests: list[GenerateRequest], expected: dict[str, Collected]
) -> None:
    config = resolved(folder, ranks=layout.num_ranks, kv_shards=layout.kv_shards, **LIMITS)
    execute = execute_on_all(config, make_shares(read_shape(folder), layout))
    together = Engine(config, LocalExecutor(lambda plan: DoneStep(execute(plan))), NullObserver())
    results = run_all(together, requests)
    assert {name: result.token_ids for name, result in results.items()} == {
        name: result.token_ids for name, result in expected.items()
    }
