"""An output that is held to a grammar is the same whatever happens around it, and what a plain search would find."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from llama4coder.engine.engine import Engine
from llama4coder.engine.executor import DoneStep
from llama4coder.engine.loading_rank import load_runner
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.obs.stats import NullObserver
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.progress import NullProgress
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import read_shape
from llama4coder.spec.types import Speculation
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import Constraint, FinishReason, GenerateRequest, SamplingParams, StopConditions
from tests.support.engines import Collected, build_engine, expect_short_outputs, resolved, run_all
from tests.support.models import write_tiny_llama
from tests.support.scripted import Scripted
from tests.support.thread_group import execute_on_all, make_shares

EOS = 2
LISTS = Constraint('start: %json {"type": "array", "items": {"type": "integer"}, "minItems": 9, "maxItems": 14}')
WORDS = Constraint("start: /([a-z]{2,7} ){3,8}[A-Z]+/")
RECORDS = Constraint(
    'start: %json {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "ok": {"type": '
    '"boolean"}}, "required": ["name", "ok"], "additionalProperties": false, '
    '"x-guidance": {"whitespace_flexible": false}}'
)
SAMPLINGS = {
    "greedy": SamplingParams(temperature=0.0),
    "warm": SamplingParams(temperature=0.8, top_p=0.9, top_k=20),
    "hot": SamplingParams(temperature=1.3, min_p=0.001, presence_penalty=0.5, num_logprobs=2),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    write_tiny_llama(path, tokenizer=True)
    return path


def prompt(seed: int, length: int) -> tuple[int, ...]:
    return tuple(torch.randint(3, 400, (length,), generator=torch.Generator().manual_seed(seed)).tolist())


def requests(sampling: SamplingParams, max_tokens: int = 48) -> list[GenerateRequest]:
    """Held to grammars, and others among them."""
    stop = StopConditions(max_tokens, stop_token_ids=frozenset({EOS}))
    constraints = (LISTS, None, WORDS, RECORDS, None, LISTS, RECORDS, WORDS)
    return [
        GenerateRequest(str(index), prompt(index, 4 + 7 * index), sampling, stop, seed=index, constraint=constraint)
        for index, constraint in enumerate(constraints)
    ]


def engine(config: ResolvedConfig, speculation: Speculation | None = None) -> Engine:
    return Engine(config, LocalExecutor(load_runner(config, NullProgress()).launch), NullObserver(), speculation)


def answers(results: Mapping[str, Collected]) -> dict[str, list[int]]:
    return {name: one.token_ids for name, one in results.items()}


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_company_preemption_and_guesses_change_nothing(folder: Path, sampling: SamplingParams) -> None:
    config, batch = resolved(folder, num_blocks=200), requests(sampling)
    expected: dict[str, list[int]] = {}
    for request in batch:
        expected |= answers(run_all(build_engine(config), [request]))
    together = run_all(build_engine(config), batch)
    assert answers(together) == expected
    tight = build_engine(resolved(folder, num_blocks=12, max_step_tokens=16, max_sequences=8, context_length=128))
    expect_short_outputs(tight)
    assert answers(run_all(tight, batch)) == expected
    assert tight.scheduler.num_preemptions
    for chance_right in (0.0, 0.7, 1.0):
        assert answers(run_all(engine(config, Scripted(expected, chance_right)), batch)) == expected


def test_ranks_that_share_the_vocabulary_agree_with_one(folder: Path) -> None:
    batch = requests(SAMPLINGS["warm"])
    expected = answers(run_all(build_engine(resolved(folder, num_blocks=200)), batch))
    for heads_shards, kv_shards in ((2, 1), (1, 3)):
        layout = ParallelLayout(heads_shards, kv_shards)
        config = resolved(folder, num_blocks=200, ranks=layout.num_ranks, kv_shards=kv_shards)
        execute = execute_on_all(config, make_shares(read_shape(folder), layout))
        executor = LocalExecutor(lambda plan, execute=execute: DoneStep(execute(plan)))  # type: ignore[misc]
        spread = Engine(config, executor, NullObserver(), Scripted(expected, 0.7))
        assert answers(run_all(spread, batch)) == expected


def test_it_goes_on_elsewhere_where_it_was(folder: Path) -> None:
    config = resolved(folder, num_blocks=200)
    for request in requests(SAMPLINGS["hot"]):
        whole = run_all(build_engine(config), [request])[request.request_id].token_ids
        for cut in (1, len(whole) // 2, len(whole) - 1):
            moved = replace(request, output_token_ids=tuple(whole[:cut]))
            assert run_all(build_engine(config), [moved])[request.request_id].token_ids == whole[cut:]


@torch.no_grad()
def test_log_probabilities_are_those_of_the_raw_distribution(folder: Path) -> None:
    request = next(one for one in requests(SAMPLINGS["hot"]) if one.constraint is WORDS)
    result = run_all(build_engine(resolved(folder, num_blocks=64)), [request])[request.request_id]
    model = LlamaForCausalLM.from_pretrained(folder)
    ids = torch.tensor([[*request.prompt_token_ids, *result.token_ids]])
    raw = model(ids).logits[0, len(request.prompt_token_ids) - 1 : -1].log_softmax(-1)
    chosen = [raw[index, token_id].item() for index, token_id in enumerate(result.token_ids)]
    assert [one.chosen.logprob for one in result.logprobs] == pytest.approx(chosen, abs=1e-3)


SENTENCES = ("return first", "return second", "return first + second", "re", "def add")


def allowed(tokenizer: Tokenizer, output: Sequence[int]) -> set[int]:
    """By looking at every token and every sentence."""
    begun = b"".join(map(tokenizer.token_bytes, output))
    sentences = [sentence.encode() for sentence in SENTENCES]
    fitting = {
        token_id
        for token_id in range(3, tokenizer.vocab_size)
        if any(sentence.startswith(begun + tokenizer.token_bytes(token_id)) for sentence in sentences)
    }
    return fitting | ({EOS} if begun in sentences else set())


@torch.no_grad()
def test_it_is_what_a_search_through_the_vocabulary_finds(folder: Path) -> None:
    """With `no_forcing`, since otherwise what a grammar leaves no choice about is written as the tokenizer would."""
    tokenizer, model = Tokenizer.from_folder(folder), LlamaForCausalLM.from_pretrained(folder)
    options = '%llguidance {"no_forcing": true}\n'
    constraint = Constraint(options + "start: " + " | ".join(f'"{sentence}"' for sentence in SENTENCES))
    stop = StopConditions(40, stop_token_ids=frozenset({EOS}))
    batch = [
        GenerateRequest(str(seed), prompt(seed, 9), SamplingParams(temperature=0.0), stop, 0, constraint=constraint)
        for seed in range(12)
    ]
    results = run_all(build_engine(resolved(folder, num_blocks=200)), batch)
    for request in batch:
        found: list[int] = []
        while EOS not in found:
            logits = model(torch.tensor([[*request.prompt_token_ids, *found]])).logits[0, -1]
            candidates = sorted(allowed(tokenizer, found))
            found.append(candidates[int(logits[candidates].argmax())])
        assert results[request.request_id].token_ids == found
        assert results[request.request_id].finish_reason is FinishReason.STOP


@pytest.mark.parametrize("has_tokenizer", [True, False])
def test_what_cannot_be_held_ends_and_nobody_else_notices(folder: Path, tmp_path: Path, has_tokenizer: bool) -> None:
    """A grammar that is none, and any grammar at all where the rank knows no tokens."""
    if not has_tokenizer:
        write_tiny_llama(tmp_path)
        folder = tmp_path
    config, batch = resolved(folder, num_blocks=200), requests(SAMPLINGS["greedy"])
    broken = Constraint("start: nowhere") if has_tokenizer else LISTS
    free = [one for one in batch if one.constraint is None]
    expected = answers(run_all(build_engine(config), free))
    bad = replace(batch[0], request_id="bad", constraint=broken)
    for speculation in (None, Scripted(expected | {"bad": [5] * 40}, 0.7)):
        results = run_all(engine(config, speculation), [free[0], bad, *free[1:]])
        assert results["bad"].finish_reason is FinishReason.CONSTRAINT
        assert results["bad"].token_ids == []
        del results["bad"]
        assert answers(results) == expected
