"""Compressed KV in the engine: what a request gets depends on the request alone, whatever the format loses."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from llama4coder.config import KVFormat
from llama4coder.engine.engine import Engine
from llama4coder.engine.executor import DoneStep
from llama4coder.engine.loading_rank import load_runner
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.kv.sizing import kv_bytes_per_block
from llama4coder.obs.stats import NullObserver
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.parallel.plan import RankPlan
from llama4coder.progress import NullProgress
from llama4coder.shape import read_shape
from llama4coder.spec.types import Speculation
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions
from tests.support.engines import build_engine, expect_short_outputs, resolved, run_all
from tests.support.models import write_tiny_llama
from tests.support.scripted import Scripted
from tests.support.thread_group import execute_on_all, make_shares

FORMATS: tuple[KVFormat, ...] = ("int8", "fp8", "int4")
formats = pytest.mark.parametrize("kv_format", FORMATS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    write_tiny_llama(path)
    return path


def prompt(seed: int, length: int) -> tuple[int, ...]:
    return tuple(torch.randint(0, 512, (length,), generator=torch.Generator().manual_seed(seed)).tolist())


def requests() -> list[GenerateRequest]:
    beginning = prompt(0, 50)
    return [
        GenerateRequest(
            str(index),
            beginning[: 25 * (index % 3)] + prompt(1 + index, 3 + 8 * index),
            SamplingParams(temperature=0.8 if index % 2 else 0.0),
            StopConditions(40),
            seed=index,
        )
        for index in range(9)
    ]


def tokens(engine: Engine) -> dict[str, list[int]]:
    return {name: result.token_ids for name, result in run_all(engine, requests()).items()}


def speculating(folder: Path, kv_format: KVFormat, speculation: Speculation) -> Engine:
    config = resolved(folder, num_blocks=200, kv_format=kv_format)
    return Engine(config, LocalExecutor(load_runner(config, NullProgress()).launch), NullObserver(), speculation)


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[KVFormat, dict[str, list[int]]]:
    """Each request by itself, its prompt in one step."""
    results: dict[KVFormat, dict[str, list[int]]] = {}
    for kv_format in FORMATS:
        engine = build_engine(resolved(folder, num_blocks=200, kv_format=kv_format, prefix_caching=False))
        one_by_one = (run_all(engine, [request]) for request in requests())
        results[kv_format] = {name: one.token_ids for results in one_by_one for name, one in results.items()}
    return results


@formats
@pytest.mark.parametrize(
    "overrides",
    [
        {"max_step_tokens": 16, "max_sequences": 5},
        {"num_blocks": 33},
        {"num_blocks": 33, "host_memory_bytes": 2**20},
        {"max_sequences": 2},
        {"prefix_caching": False},
    ],
    ids=["small chunks", "preemption", "swap", "few at a time", "no prefix cache"],
)
def test_company_chunks_and_preemption_change_nothing(
    folder: Path, alone: dict[KVFormat, dict[str, list[int]]], kv_format: KVFormat, overrides: dict[str, object]
) -> None:
    engine = build_engine(resolved(folder, **{"num_blocks": 200, "kv_format": kv_format, **overrides}))
    expect_short_outputs(engine)
    assert tokens(engine) == alone[kv_format]
    assert ("num_blocks" in overrides) == (engine.scheduler.num_preemptions > 0)


@formats
@pytest.mark.parametrize("chance_right", [0.0, 0.8, 1.0])
def test_guesses_change_nothing(
    folder: Path, alone: dict[KVFormat, dict[str, list[int]]], kv_format: KVFormat, chance_right: float
) -> None:
    speculation = Scripted(alone[kv_format], chance_right)
    assert tokens(speculating(folder, kv_format, speculation)) == alone[kv_format]
    assert speculation.num_drafted > 50


@formats
def test_going_on_elsewhere_changes_nothing(
    folder: Path, alone: dict[KVFormat, dict[str, list[int]]], kv_format: KVFormat
) -> None:
    engine = build_engine(resolved(folder, num_blocks=200, kv_format=kv_format))
    moved = [replace(one, output_token_ids=tuple(alone[kv_format][one.request_id][:21])) for one in requests()]
    for name, result in run_all(engine, moved).items():
        assert result.token_ids == alone[kv_format][name][21:]


@formats
@pytest.mark.parametrize("layout", [ParallelLayout(1, 3), ParallelLayout(2, 2)], ids=str)
def test_kv_shards_change_nothing(
    folder: Path, alone: dict[KVFormat, dict[str, list[int]]], kv_format: KVFormat, layout: ParallelLayout
) -> None:
    shape = read_shape(folder)
    config = resolved(
        folder,
        ranks=layout.num_ranks,
        kv_shards=layout.kv_shards,
        kv_format=kv_format,
        kv_memory_bytes=80 * kv_bytes_per_block(RankPlan(shape, layout, 0), "float32", kv_format),
        max_step_tokens=48,
        max_sequences=8,
    )
    execute = execute_on_all(config, make_shares(shape, layout))
    engine = Engine(config, LocalExecutor(lambda plan: DoneStep(execute(plan))), NullObserver())
    assert tokens(engine) == alone[kv_format]


def test_formats_lose_different_things(alone: dict[KVFormat, dict[str, list[int]]]) -> None:
    """Else the tests above would compare dense with dense."""
    assert len({str(answers) for answers in alone.values()}) == len(FORMATS)
