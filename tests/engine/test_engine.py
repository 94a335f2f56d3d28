"""The engine as a whole, on a tiny random model in float32: the same tokens whatever happens around a request."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from llama4coder.engine.engine import Engine
from llama4coder.engine.executor import DoneStep
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.engine.plan import StepPlan, StepResult
from llama4coder.obs.stats import NullObserver
from llama4coder.types import FinishReason, GenerateRequest, SamplingParams, StopConditions
from tests.support.engines import build_engine, expect_short_outputs, greedy_request, resolved, run_all
from tests.support.fake_rank import FakeRank
from tests.support.models import write_tiny_llama


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    write_tiny_llama(path)
    return path


def engine(folder: Path, **overrides: object) -> Engine:
    return build_engine(resolved(folder, **{"num_blocks": 64, **overrides}))


def prompt(seed: int, length: int) -> list[int]:
    return torch.randint(0, 512, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def sampled_request(request_id: str, token_ids: list[int], **params: float) -> GenerateRequest:
    return GenerateRequest(request_id, tuple(token_ids), SamplingParams(**params), StopConditions(24), seed=1234)


def hugging_face_greedy(model: LlamaForCausalLM, ids: list[int], num_tokens: int, **options: float) -> list[int]:
    batch = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
    generated = model.generate(**batch, max_new_tokens=num_tokens, do_sample=False, pad_token_id=0, **options)
    return generated[0, len(ids) :].tolist()


def test_greedy_equals_hugging_face(folder: Path) -> None:
    reference = LlamaForCausalLM.from_pretrained(folder)
    prompts = [prompt(seed, 5 + 17 * seed) for seed in range(8)]
    results = run_all(engine(folder), [greedy_request(str(i), ids, 20) for i, ids in enumerate(prompts)])
    for index, ids in enumerate(prompts):
        expected = hugging_face_greedy(reference, ids, 20)
        assert results[str(index)].token_ids[: len(expected)] == expected


def test_the_first_event_says_how_long_its_request_has_waited(folder: Path) -> None:
    one_at_a_time = engine(folder, max_sequences=1)
    for name in ("first", "second"):
        one_at_a_time.add(greedy_request(name, prompt(1, 5), 4))
    times_s: dict[str, list[float]] = {"first": [], "second": []}
    while one_at_a_time.has_work:
        for event in one_at_a_time.step():
            times_s[event.request_id].append(event.queue_time_s)
    assert 0 < times_s["first"][0] < times_s["second"][0]
    assert [time_s for of_one in times_s.values() for time_s in of_one[1:]] == [0.0] * 6


@pytest.mark.parametrize(
    "overrides",
    [
        {"max_step_tokens": 16, "max_sequences": 8},
        {"num_blocks": 33},
        {"prefix_caching": False},
        {"max_sequences": 2},
    ],
    ids=["small-chunks", "preemption", "no-cache", "few-at-a-time"],
)
@pytest.mark.parametrize("params", [{"temperature": 0.0}, {"temperature": 1.0}, {"temperature": 0.7, "top_p": 0.9}])
def test_a_request_yields_the_same_tokens_alone_and_in_company(
    folder: Path, overrides: dict[str, object], params: dict[str, float]
) -> None:
    subject = prompt(99, 70)
    alone = run_all(engine(folder), [sampled_request("subject", subject, **params)])["subject"]
    company = [sampled_request(f"other-{i}", prompt(i, 20 + 5 * i), temperature=1.0) for i in range(16)]
    crowded = engine(folder, **overrides)
    expect_short_outputs(crowded)
    together = run_all(crowded, [*company, sampled_request("subject", subject, **params)])
    assert together["subject"].token_ids == alone.token_ids
    assert all(len(result.token_ids) == 24 for result in together.values())


def test_small_pool_preempts_and_still_finishes_everything(folder: Path) -> None:
    subject = engine(folder, num_blocks=33)
    expect_short_outputs(subject)
    requests = [greedy_request(str(i), prompt(i, 40), 60) for i in range(12)]
    results = run_all(subject, requests)
    assert subject.scheduler.num_preemptions > 0
    assert {result.finish_reason for result in results.values()} == {FinishReason.LENGTH}
    expected = run_all(engine(folder, num_blocks=400), requests)
    assert {key: value.token_ids for key, value in results.items()} == {k: v.token_ids for k, v in expected.items()}


class SlowExecutor:
    """A rank that takes its time, and a record of what was asked of it."""

    def __init__(self, execute: Callable[[StepPlan], StepResult], step_s: float) -> None:
        self._step_s = step_s
        self._inner = LocalExecutor(lambda plan: DoneStep(self._execute(plan)))
        self._execute_now = execute
        self.log: list[str] = []

    def _execute(self, plan: StepPlan) -> StepResult:
        time.sleep(self._step_s)
        return self._execute_now(plan)

    def submit(self, plan: StepPlan) -> None:
        self.log.append(f"submit {plan.step_id}")
        self._inner.submit(plan)

    def ready(self, timeout_s: float) -> bool:
        return self._inner.ready(timeout_s)

    def collect(self, timeout_s: float) -> StepResult:
        result = self._inner.collect(timeout_s)
        self.log.append(f"collect {result.step_id}")
        return result

    def close(self) -> None:
        self._inner.close()


def paced_steps(subject: Engine) -> None:
    while subject.has_work:
        subject.await_turn()
        subject.step()


def test_the_next_step_is_planned_while_one_runs(folder: Path) -> None:
    executor = SlowExecutor(FakeRank(8, 16).execute, step_s=0.05)
    subject = Engine(resolved(folder, num_blocks=64), executor, NullObserver())
    subject.add(greedy_request("a", prompt(1, 20), 6))
    paced_steps(subject)
    assert executor.log[:5] == ["submit 1", "submit 2", "collect 1", "submit 3", "collect 2"]
    executor.close()


def test_a_request_that_arrives_while_a_step_runs_is_part_of_the_next_one(folder: Path) -> None:
    plans: list[StepPlan] = []
    rank = FakeRank(8, 16)

    def execute(plan: StepPlan) -> StepResult:
        plans.append(plan)
        return rank.execute(plan)

    subject = Engine(resolved(folder, num_blocks=64), SlowExecutor(execute, step_s=0.1), NullObserver())
    subject.add(greedy_request("a", prompt(1, 20), 8))
    for _ in range(5):  # by now it knows how long a step of one token takes
        subject.await_turn()
        subject.step()
    num_begun = len(plans)
    arrival = threading.Timer(0.05, subject.add, [greedy_request("late", prompt(2, 20), 2)])
    arrival.start()
    subject.await_turn()
    subject.step()
    paced_steps(subject)
    subject.close()
    assert [bool(plan.new) for plan in plans[num_begun : num_begun + 3]] in ([True, False, False], [False, True, False])


def test_equal_prompts_are_computed_once(folder: Path) -> None:
    subject = engine(folder)
    ids = prompt(5, 100)
    results = run_all(subject, [greedy_request(str(i), ids, 4) for i in range(5)])
    assert sorted(result.num_cached_tokens for result in results.values()) == [0, 96, 96, 96, 96]
    assert len({tuple(result.token_ids) for result in results.values()}) == 1


def test_different_seeds_differ_and_equal_seeds_agree(folder: Path) -> None:
    ids = tuple(prompt(1, 30))
    requests = [
        GenerateRequest(str(i), ids, SamplingParams(temperature=1.0), StopConditions(16), seed=i % 4) for i in range(8)
    ]
    results = run_all(engine(folder), requests)
    assert len({tuple(result.token_ids) for result in results.values()}) == 4


def test_stop_token_ends_the_request_and_is_its_last_token(folder: Path) -> None:
    ids = prompt(3, 20)
    free = run_all(engine(folder), [greedy_request("a", ids, 30)])["a"].token_ids
    stop_id = free[9]
    first = free.index(stop_id)
    request = GenerateRequest(
        "a", tuple(ids), SamplingParams(temperature=0.0), StopConditions(30, 0, frozenset({stop_id})), 0
    )
    result = run_all(engine(folder), [request])["a"]
    assert result.token_ids == free[: first + 1]
    assert result.finish_reason is FinishReason.STOP


def test_min_tokens_forbids_stop_tokens(folder: Path) -> None:
    ids = prompt(3, 20)
    free = run_all(engine(folder), [greedy_request("a", ids, 30)])["a"].token_ids
    stop = StopConditions(30, min_tokens=12, stop_token_ids=frozenset(free))
    request = GenerateRequest("a", tuple(ids), SamplingParams(temperature=0.0), stop, 0)
    result = run_all(engine(folder), [request])["a"]
    assert not set(result.token_ids[:12]) & set(free)
    assert len(result.token_ids) > 12


def test_logprobs_are_those_of_the_raw_distribution(folder: Path) -> None:
    ids = prompt(4, 25)
    params = SamplingParams(temperature=0.0, num_logprobs=3, num_prompt_logprobs=2, logit_bias={7: 100.0})
    request = GenerateRequest("a", tuple(ids), params, StopConditions(3), 0)
    result = run_all(engine(folder, max_step_tokens=16, max_sequences=4), [request])["a"]
    assert result.token_ids == [7, 7, 7]
    with torch.inference_mode():
        logits = LlamaForCausalLM.from_pretrained(folder)(torch.tensor([ids + result.token_ids])).logits[0]
    expected = logits.log_softmax(-1)
    assert result.prompt_logprobs[0] is None
    for position in range(1, len(ids)):
        entry = result.prompt_logprobs[position]
        assert entry is not None and entry.chosen.token_id == ids[position]
        assert entry.chosen.logprob == pytest.approx(expected[position - 1, ids[position]].item(), abs=1e-3)
        assert [top.token_id for top in entry.top] == expected[position - 1].topk(2).indices.tolist()
    for offset, entry in enumerate(result.logprobs):
        row = expected[len(ids) + offset - 1]
        assert entry.chosen.logprob == pytest.approx(row[7].item(), abs=1e-3)
        assert [top.token_id for top in entry.top] == row.topk(3).indices.tolist()


def test_a_prompt_may_be_scored_without_generating(folder: Path) -> None:
    params = SamplingParams(temperature=0.0, num_prompt_logprobs=0)
    request = GenerateRequest("a", tuple(prompt(4, 40)), params, StopConditions(0), 0)
    result = run_all(engine(folder), [request])["a"]
    assert result.token_ids == [] and result.finish_reason is FinishReason.LENGTH
    assert len(result.prompt_logprobs) == 40


def test_repetition_penalty_matches_hugging_face(folder: Path) -> None:
    ids = prompt(6, 20)
    reference = LlamaForCausalLM.from_pretrained(folder)
    expected = hugging_face_greedy(reference, ids, 24, repetition_penalty=1.3)
    result = run_all(engine(folder), [sampled_request("a", ids, temperature=0.0, repetition_penalty=1.3)])["a"]
    assert result.token_ids[: len(expected)] == expected


def test_abort_frees_blocks_at_once(folder: Path) -> None:
    subject = engine(folder, prefix_caching=False)
    for index in range(4):
        subject.add(greedy_request(str(index), prompt(index, 50), 50))
    for _ in range(3):
        subject.step()
    for index in range(4):
        subject.abort(str(index))
        subject.abort(str(index))
        subject.abort("unknown")
    subject.check_integrity()
    assert subject.stats().num_free_blocks == 64
    while subject.has_work:
        assert subject.step() == [], "what a step on its way computes for an aborted request is nobody's"
    assert run_all(subject, [greedy_request("again", prompt(1, 50), 5)])["again"].finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.0},
        {"temperature": 1.0, "top_p": 0.9},
        {"temperature": 0.8, "repetition_penalty": 1.3, "frequency_penalty": 0.4},
    ],
)
def test_a_request_goes_on_elsewhere_exactly_where_it_was(folder: Path, params: dict[str, float]) -> None:
    begun = sampled_request("a", prompt(7, 30), **params)
    whole = run_all(engine(folder), [begun])["a"].token_ids
    for cut in (1, 5, 16, 23):
        resumed = replace(begun, output_token_ids=tuple(whole[:cut]))
        rest = run_all(engine(folder), [resumed])["a"]
        assert rest.token_ids == whole[cut:]
        assert rest.finish_reason is FinishReason.LENGTH


def test_a_resumed_request_still_waits_for_its_minimum_of_tokens(folder: Path) -> None:
    ids = prompt(3, 20)
    free = run_all(engine(folder), [greedy_request("a", ids, 30)])["a"].token_ids
    stop = StopConditions(30, min_tokens=12, stop_token_ids=frozenset(free))
    request = GenerateRequest("a", tuple(ids), SamplingParams(temperature=0.0), stop, 0)
    whole = run_all(engine(folder), [request])["a"].token_ids
    resumed = replace(request, output_token_ids=tuple(whole[:6]))
    assert run_all(engine(folder), [resumed])["a"].token_ids == whole[6:]
