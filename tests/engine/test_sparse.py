"""Output that reads a few blocks only: what a request gets depends on the request alone, and reading all is exact."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from llama4coder.config import KVFormat
from llama4coder.engine.engine import Engine
from llama4coder.engine.executor import DoneStep
from llama4coder.engine.loading_rank import load_runner
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.errors import UnsupportedOption
from llama4coder.kv.sizing import kv_bytes_per_block
from llama4coder.obs.stats import NullObserver
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.parallel.plan import RankPlan
from llama4coder.progress import NullProgress
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import read_shape
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions
from tests.support.engines import build_engine, expect_short_outputs, resolved, run_all
from tests.support.models import write_tiny_llama
from tests.support.scripted import Scripted
from tests.support.thread_group import execute_on_all, make_shares

FORMATS: tuple[KVFormat, ...] = ("dense", "int8", "fp8", "int4")
formats = pytest.mark.parametrize("kv_format", FORMATS)
FEW, MORE, ALL = 4, 6, 32  # blocks; a sequence of the tiny model has no more than the last
Answers = dict[str, list[int]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    write_tiny_llama(path)
    return path


def prompt(seed: int, length: int) -> tuple[int, ...]:
    return tuple(torch.randint(0, 512, (length,), generator=torch.Generator().manual_seed(seed)).tolist())


def requests(top_blocks: Sequence[int | None] = (FEW, None, MORE)) -> list[GenerateRequest]:
    """In turns with so many blocks; those of 0 and 3, and those of 1 and 4, have the same prompts."""
    return [
        GenerateRequest(
            str(index),
            prompt(index % 3, 80 + 45 * (index % 3)),
            SamplingParams(temperature=0.8 if index % 2 else 0.0),
            StopConditions(40),
            seed=index,
            top_blocks=top_blocks[index % len(top_blocks)],
        )
        for index in range(5)
    ]


def config(folder: Path, kv_format: KVFormat, **overrides: object) -> ResolvedConfig:
    return resolved(folder, **{"num_blocks": 200, "kv_format": kv_format, "block_bounds": True, **overrides})


def answers(engine: Engine, batch: list[GenerateRequest]) -> Answers:
    return {name: result.token_ids for name, result in run_all(engine, batch).items()}


def one_by_one(folder: Path, kv_format: KVFormat, batch: list[GenerateRequest]) -> Answers:
    engine = build_engine(config(folder, kv_format, prefix_caching=False))
    return {name: tokens for request in batch for name, tokens in answers(engine, [request]).items()}


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[KVFormat, Answers]:
    """Each request by itself, its prompt in one step."""
    return {kv_format: one_by_one(folder, kv_format, requests()) for kv_format in FORMATS}


@formats
@pytest.mark.parametrize(
    "overrides",
    [{"max_step_tokens": 16, "max_sequences": 5}, {"num_blocks": 33}, {}, {"prefix_caching": False}],
    ids=["small chunks", "preemption", "all at once", "no prefix cache"],
)
def test_company_chunks_and_preemption_change_nothing(
    folder: Path, alone: dict[KVFormat, Answers], kv_format: KVFormat, overrides: dict[str, object]
) -> None:
    engine = build_engine(config(folder, kv_format, **overrides))
    expect_short_outputs(engine)
    assert answers(engine, requests()) == alone[kv_format]
    assert ("num_blocks" in overrides) == (engine.scheduler.num_preemptions > 0)


@formats
@pytest.mark.parametrize("chance_right", [0.0, 0.8])
def test_guesses_change_nothing(
    folder: Path, alone: dict[KVFormat, Answers], kv_format: KVFormat, chance_right: float
) -> None:
    speculation, settings = Scripted(alone[kv_format], chance_right), config(folder, kv_format)
    executor = LocalExecutor(load_runner(settings, NullProgress()).launch)
    assert answers(Engine(settings, executor, NullObserver(), speculation), requests()) == alone[kv_format]
    assert speculation.num_drafted > 50


@formats
def test_going_on_elsewhere_changes_nothing(folder: Path, alone: dict[KVFormat, Answers], kv_format: KVFormat) -> None:
    moved = [replace(one, output_token_ids=tuple(alone[kv_format][one.request_id][:21])) for one in requests()]
    rest = {name: tokens[21:] for name, tokens in alone[kv_format].items()}
    assert answers(build_engine(config(folder, kv_format)), moved) == rest


@formats
def test_nothing_of_this_changes_a_bit_natively(tmp_path: Path, kv_format: KVFormat) -> None:
    """On CPUs that the kernels in C are for; what is narrower than bfloat16 would show as another token."""
    write_tiny_llama(tmp_path, hidden_size=128)
    settings = {"dtype": "bfloat16", "prefix_caching": False, "num_threads": 2}
    engine = build_engine(config(tmp_path, kv_format, **settings))
    expected = {name: tokens for one in requests() for name, tokens in answers(engine, [one]).items()}
    chunked = build_engine(config(tmp_path, kv_format, **settings, max_step_tokens=16, max_sequences=5))
    assert answers(chunked, requests()) == expected
    preempting = build_engine(config(tmp_path, kv_format, **settings, num_blocks=32))
    expect_short_outputs(preempting)
    assert answers(preempting, requests()) == expected
    assert preempting.scheduler.num_preemptions


def test_what_few_blocks_gave_is_not_offered_to_who_reads_everything(folder: Path) -> None:
    """A chat goes on with what was said: its keys and values are computed as a prompt's are."""
    said = requests((FEW,))[2]
    engine = build_engine(config(folder, "dense"))
    answer = answers(engine, [said])["2"]
    following = replace(said, request_id="next", prompt_token_ids=(*said.prompt_token_ids, *answer), top_blocks=None)
    result = run_all(engine, [following])["next"]
    assert result.token_ids == one_by_one(folder, "dense", [following])["next"]
    assert result.num_cached_tokens == len(said.prompt_token_ids) // 16 * 16


@formats
def test_reading_all_blocks_is_reading_everything(folder: Path, kv_format: KVFormat) -> None:
    dense = answers(build_engine(resolved(folder, num_blocks=200, kv_format=kv_format)), requests((None,)))
    assert answers(build_engine(config(folder, kv_format)), requests((ALL,))) == dense


@formats
def test_few_blocks_are_not_all(folder: Path, alone: dict[KVFormat, Answers], kv_format: KVFormat) -> None:
    """Else the tests above would compare dense with dense."""
    dense, more = (one_by_one(folder, kv_format, requests((number,))) for number in (None, MORE))
    mine = alone[kv_format]
    assert mine["1"] == dense["1"] and mine["4"] == dense["4"], "requests may differ within a batch"
    assert mine["0"] != dense["0"] and mine["2"] == more["2"] != dense["2"]


@formats
@pytest.mark.parametrize("layout", [ParallelLayout(1, 3), ParallelLayout(2, 2)], ids=str)
def test_all_blocks_of_kv_shards_are_everything(folder: Path, kv_format: KVFormat, layout: ParallelLayout) -> None:
    shape = read_shape(folder)
    block_bytes = kv_bytes_per_block(RankPlan(shape, layout, 0), "float32", kv_format, block_bounds=True)
    settings = resolved(
        folder,
        ranks=layout.num_ranks,
        kv_shards=layout.kv_shards,
        kv_format=kv_format,
        block_bounds=True,
        kv_memory_bytes=80 * block_bytes,
        max_step_tokens=48,
        max_sequences=8,
    )
    execute = execute_on_all(settings, make_shares(shape, layout))
    engine = Engine(settings, LocalExecutor(lambda plan: DoneStep(execute(plan))), NullObserver())
    dense = answers(build_engine(resolved(folder, num_blocks=200, kv_format=kv_format)), requests((None,)))
    assert answers(engine, requests((ALL,))) == dense
    assert answers(engine, requests((FEW,))) != dense


def test_an_engine_without_bounds_refuses(folder: Path) -> None:
    engine = build_engine(resolved(folder, num_blocks=40))
    with pytest.raises(UnsupportedOption, match="block_bounds"):
        engine.check_fits(requests((FEW,))[0])
