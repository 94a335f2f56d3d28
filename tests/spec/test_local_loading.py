"""The draft model beside a target is found, checked, and helps an engine without changing a token."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import pytest
import torch

from llama4coder.config import DraftConfig, SpeculationConfig
from llama4coder.engine.engine import Engine
from llama4coder.engine.loading_rank import load_runner
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.errors import ConfigError
from llama4coder.obs.stats import NullObserver
from llama4coder.progress import NullProgress
from llama4coder.resolved import ResolvedConfig
from llama4coder.spec.build import build_speculation
from llama4coder.spec.local import LocalProposer
from llama4coder.spec.local_loading import load_local
from llama4coder.spec.types import DraftQuery, NoSpeculation, RowOutcome, StepCost
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions
from tests.support.engines import MACHINE, Collected, build_engine, resolved, run_all
from tests.support.models import TINY, write_tiny_llama

NUM_TOKENS = 30


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("target")
    write_tiny_llama(folder, tokenizer=True)
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other weights, other sizes, the same tokens."""
    folder = tmp_path_factory.mktemp("other")
    write_tiny_llama(folder, seed=5, tokenizer=True, num_hidden_layers=1, vocab_size=TINY["vocab_size"] + 64)
    return folder


def beside(target: Path, draft: Path, **settings: object) -> ResolvedConfig:
    """An engine's configuration with a draft model."""
    section = DraftConfig(path=str(draft), dtype="float32", window_tokens=256, kv_memory_bytes=4 * 2**20, **settings)
    speculation = SpeculationConfig(method="local", max_draft_tokens=4, draft=section)
    return resolved(target, num_blocks=200).model_copy(update={"speculation": speculation})


def tokens_of(results: Mapping[str, Collected]) -> dict[str, list[int]]:
    return {name: one.token_ids for name, one in results.items()}


def requests(sampling: SamplingParams, number: int) -> list[GenerateRequest]:
    generator = torch.Generator().manual_seed(3)
    prompts = [torch.randint(0, 400, (5 + 9 * index,), generator=generator).tolist() for index in range(number)]
    return [
        GenerateRequest(str(index), tuple(prompt), sampling, StopConditions(NUM_TOKENS), seed=index)
        for index, prompt in enumerate(prompts)
    ]


class Unweighed(NoSpeculation):
    """Takes every guess: steps of tiny models are too short to weigh."""

    def __init__(self, proposer: LocalProposer) -> None:
        self.num_drafted = 0
        self.num_accepted = 0
        self._proposer = proposer

    def begin(self, request: GenerateRequest) -> None:
        self._proposer.begin(request)

    def wants(self, request_ids: Sequence[str]) -> bool:
        return True

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, tuple[int, ...]]:
        drafts = self._proposer.propose(queries).items()
        return {name: tuple(takewhile(TINY["vocab_size"].__gt__, draft.token_ids)) for name, draft in drafts}

    def observe(self, outcomes: Sequence[RowOutcome], cost: StepCost) -> None:
        self._proposer.observe(outcomes)
        self.num_drafted += sum(outcome.num_drafted for outcome in outcomes)
        self.num_accepted += sum(outcome.num_accepted for outcome in outcomes if not outcome.has_ended)

    def end(self, request_id: str) -> None:
        self._proposer.end(request_id)


def test_a_loaded_draft_helps_an_engine_as_much_as_it_is_like_the_target(target: Path, other: Path) -> None:
    batch = requests(SamplingParams(temperature=0.8, top_p=0.95), 8)
    expected = tokens_of(run_all(build_engine(resolved(target, num_blocks=200)), batch))
    accepted = []
    for draft in (target, other):
        config = beside(target, draft)
        proposer = load_local(config, MACHINE, NullProgress())
        speculation = Unweighed(proposer)
        executor = LocalExecutor(load_runner(config, NullProgress()).launch)
        assert tokens_of(run_all(Engine(config, executor, NullObserver(), speculation), batch)) == expected
        proposer.check_integrity()
        assert speculation.num_drafted > 10 * len(batch)
        accepted.append(speculation.num_accepted / speculation.num_drafted)
    assert accepted[0] > max(0.3, accepted[1] + 0.2)


def test_the_configuration_leads_here(target: Path, other: Path) -> None:
    speculation = build_speculation(beside(target, other), TINY["vocab_size"], NullObserver())
    (request,) = requests(SamplingParams(temperature=0.0), 1)
    speculation.begin(request)
    guesses = [speculation.propose([DraftQuery(request.request_id, request.prompt_token_ids, 4)]) for _ in range(4)]
    assert any(guesses)
    speculation.close()


def test_another_tokenizer_is_refused(target: Path, tmp_path: Path) -> None:
    write_tiny_llama(tmp_path, tokenizer=True)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace("<|im_end|>", "<|the_end|>"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"2 is '<\|im_end\|>' \(special\) for the target"):
        load_local(beside(target, tmp_path), MACHINE, NullProgress())
