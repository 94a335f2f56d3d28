"""Offline generation: one call, no server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from llama4coder import LLM, SamplingParams
from llama4coder.config import EngineConfig, ModelConfig, SpeculationConfig
from llama4coder.errors import CheckpointError, ContextTooLong
from llama4coder.types import FinishReason
from tests.support.models import write_tiny_llama

GREEDY = SamplingParams(temperature=0.0)


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    folder = tmp_path_factory.mktemp("model")
    write_tiny_llama(folder, tokenizer=True, vocab_size=400)
    engine = EngineConfig(kv_memory_bytes=2**20, num_threads=1)
    with LLM(str(folder), model=ModelConfig(dtype="float32"), engine=engine) as llm:
        yield llm


def test_texts_and_token_ids_are_both_prompts(llm: LLM) -> None:
    text = "def add(first, second):"
    token_ids = llm.tokenizer.encode(text, add_bos=llm.tokenizer.adds_bos)
    by_text, by_ids = llm.generate([text, token_ids], GREEDY, max_tokens=12)
    assert by_text == by_ids
    assert by_text.text == llm.tokenizer.decode(by_text.token_ids)
    assert llm.generate(text, GREEDY, max_tokens=12) == [by_text]
    assert llm.generate(token_ids, GREEDY, max_tokens=12) == [by_text]
    assert llm.generate([], GREEDY) == []


def test_a_stop_string_ends_one_completion_and_not_the_others(llm: LLM) -> None:
    prompts = ["def add(", "class Point:", "for index in range("]
    free = llm.generate(prompts, GREEDY, max_tokens=30)
    stop = free[0].text[5:9]
    stopped = llm.generate(prompts, GREEDY, max_tokens=30, stop=[stop])
    assert stopped[0].text == free[0].text.partition(stop)[0]
    assert stopped[0].finish_reason is FinishReason.STOP
    for before, after in zip(free[1:], stopped[1:], strict=True):
        assert after.text == before.text.partition(stop)[0]


def test_offline_nobody_waits_too_long(tmp_path: Path) -> None:
    write_tiny_llama(tmp_path, tokenizer=True, vocab_size=400)
    engine = EngineConfig(kv_memory_bytes=2**20, num_threads=1, max_sequences=1, queue_timeout_s=0.001)
    with LLM(str(tmp_path), model=ModelConfig(dtype="float32"), engine=engine) as llm:
        completions = llm.generate(["a", "b", "c", "d"], GREEDY, max_tokens=8)
    assert FinishReason.ABORT not in {completion.finish_reason for completion in completions}


def test_seeds_follow_the_prompts(llm: LLM) -> None:
    prompts = ["import sys"] * 3
    first = llm.generate(prompts, SamplingParams(temperature=1.0), max_tokens=16, seed=5)
    assert len({completion.token_ids for completion in first}) == 3
    assert llm.generate(prompts, SamplingParams(temperature=1.0), max_tokens=16, seed=6)[:2] == first[1:]


def test_one_prompt_that_does_not_fit_stops_all_of_them_before_any_work(llm: LLM) -> None:
    with pytest.raises(ContextTooLong):
        llm.generate(["def", "class"], max_tokens=llm.context_length)
    assert llm.generate("def", GREEDY, max_tokens=2)[0].finish_reason is FinishReason.LENGTH


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        LLM(str(tmp_path))


def test_guesses_change_nothing_but_the_number_of_steps(tmp_path: Path, llm: LLM) -> None:
    write_tiny_llama(tmp_path, tokenizer=True, vocab_size=400)
    engine, prompts = (
        EngineConfig(kv_memory_bytes=2**20, num_threads=1),
        ["def add(first, second):\n" * 3, "x = 1\n" * 5],
    )
    model, speculation = ModelConfig(dtype="float32"), SpeculationConfig(method="none")
    with LLM(str(tmp_path), model=model, engine=engine, speculation=speculation) as plain:
        for sampling in (GREEDY, SamplingParams(temperature=0.8)):
            assert llm.generate(prompts, sampling, max_tokens=60) == plain.generate(prompts, sampling, max_tokens=60)
