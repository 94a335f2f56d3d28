"""The scheduler without a model: random traces of arrivals, growth, guesses, aborts, deadlines and preemption."""

import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import event as note_event
from hypothesis import given, settings
from hypothesis import strategies as st

from llama4coder.engine.scheduler import Scheduler
from llama4coder.types import FinishReason, GenerateRequest, Priority, SamplingParams, StopConditions, TokenEvent
from tests.support.scheduling import (
    BLOCK_SIZE,
    CONTEXT,
    Pipeline,
    expect_outputs,
    expected_tokens,
    make_scheduler,
)

STEP_S = 1.0


@dataclass(frozen=True)
class Operation:
    """A request, steps, and perhaps the abort of an earlier one."""

    num_prompt: int
    max_tokens: int
    num_begun: int  # tokens that it had from another replica, if there are so many to be had
    prompt_kind: int
    priority: Priority
    num_steps: int
    aborts: bool
    stop_token_id: int | None  # the fake rank's tokens are 0 to 6

    def request(self, request_id: str) -> GenerateRequest:
        stop_ids = frozenset() if self.stop_token_id is None else frozenset({self.stop_token_id})
        stop = StopConditions(self.max_tokens, stop_token_ids=stop_ids)
        prompt = (self.prompt_kind,) * self.num_prompt
        request = GenerateRequest(request_id, prompt, SamplingParams(), stop, seed=0, priority=self.priority)
        return replace(request, output_token_ids=tuple(self.begun()))

    def expected(self) -> list[int]:
        tokens = expected_tokens(self.num_prompt, self.max_tokens)
        return tokens[: tokens.index(self.stop_token_id) + 1] if self.stop_token_id in tokens else tokens

    def begun(self) -> list[int]:
        return self.expected()[:-1][: self.num_begun]


@dataclass(frozen=True)
class Setting:
    """Where the operations happen."""

    num_blocks: int  # beyond what one sequence needs
    num_shards: int
    prefix_caching: bool
    max_sequences: int
    chunk: int
    depth: int
    host_slots: int
    expected_output: int
    batch_delay_s: float
    queue_timeout_s: float

    def scheduler(self) -> Scheduler:
        blocks_per_shard = -(-(CONTEXT // BLOCK_SIZE + self.num_blocks) // self.num_shards)
        scheduler = make_scheduler(
            blocks_per_shard,
            self.num_shards,
            self.host_slots,
            prefix_caching=self.prefix_caching,
            max_sequences=self.max_sequences,
            max_step_tokens=self.chunk,
            batch_delay_s=self.batch_delay_s,
            queue_timeout_s=self.queue_timeout_s,
        )
        expect_outputs(scheduler, self.expected_output)
        return scheduler


operations = st.lists(
    st.builds(
        Operation,
        num_prompt=st.integers(1, 30),
        max_tokens=st.sampled_from([0, 1, 3, 8, 16, 24, 30, 34]),
        num_begun=st.sampled_from([0, 0, 0, 3]),
        prompt_kind=st.integers(0, 3),
        priority=st.sampled_from(Priority),
        num_steps=st.sampled_from([0, 0, 0, 1, 2, 5]),
        aborts=st.sampled_from([False, False, False, True]),
        stop_token_id=st.sampled_from([None, None, 0, 5]),
    ),
    min_size=5,
    max_size=16,
)
some_settings = st.builds(
    Setting,
    num_blocks=st.sampled_from([0, 0, 1, 4, 9, 24]),
    num_shards=st.integers(1, 4),
    prefix_caching=st.booleans(),
    max_sequences=st.integers(2, 8),
    chunk=st.integers(8, 40),
    depth=st.integers(1, 3),
    host_slots=st.sampled_from([0, 2, 8]),
    expected_output=st.sampled_from([1, 1, 1, 4, 16]),
    batch_delay_s=st.sampled_from([0.0, 3.0, 12.0]),
    queue_timeout_s=st.sampled_from([15.0, 1e9, 1e9]),
)


class Trace:
    """Everything that happens to the requests of one run, by a clock that ticks once per step."""

    def __init__(self, setting: Setting, guesses: random.Random | None) -> None:
        self.setting = setting
        self.pipeline = Pipeline(setting.scheduler(), setting.depth, guesses)
        self.scheduler = self.pipeline.scheduler
        self.now_s = 0.0
        self.arrivals_s: dict[str, float] = {}
        self.received: dict[str, list[int]] = {}
        self.finished: dict[str, FinishReason] = {}
        self.expired: set[str] = set()
        self._requests: dict[str, GenerateRequest] = {}
        self._urgent: set[str] = set()

    def add(self, request: GenerateRequest, *, urgent: bool) -> None:
        name = request.request_id
        self.scheduler.check_fits(request)
        self.scheduler.add(request, self.now_s, urgent=urgent)
        self.arrivals_s[name] = self.now_s
        self.received[name] = list(request.output_token_ids)
        self._requests[name] = request
        if urgent:
            self._urgent.add(name)

    def abort(self, name: str) -> None:
        self.scheduler.abort(name)
        self.finished.setdefault(name, FinishReason.ABORT)
        self.pipeline.check()

    def step(self) -> None:
        self._expire()
        waiting = [seq.request.request_id for seq in self.scheduler._waiting]
        events = self.pipeline.step()
        self._check_order(waiting)
        for event in events:
            self._note(event)
        self.now_s += STEP_S

    def _expire(self) -> None:
        new = {seq.request.request_id for seq in self.scheduler._waiting if not self._has_begun(seq.request.request_id)}
        late = {name for name in new if self.now_s - self.arrivals_s[name] >= self.setting.queue_timeout_s}
        assert set(self.scheduler.expire(self.now_s)) == late
        self.expired |= late
        for name in late:
            self.finished[name] = FinishReason.ABORT
        self.pipeline.check()

    def _has_begun(self, name: str) -> bool:
        return bool(name in self._urgent or self.received[name] or name in self.pipeline.victims)

    def _check_order(self, waiting: list[str]) -> None:
        """Nobody new who came first, a batch request by its delay later, has been overtaken."""
        admitted = {admission.request_id for admission in self.scheduler.admissions}
        left = {seq.request.request_id for seq in self.scheduler._waiting}
        if self.setting.prefix_caching:
            return  # who waits for a prefix that is being computed lets others go ahead
        for name in waiting:
            if name in left and not self._has_begun(name):
                later = [other for other in admitted if not self._has_begun(other)]
                assert all(self._turn_s(other) <= self._turn_s(name) for other in later), "overtaken"

    def _turn_s(self, name: str) -> float:
        is_batch = self._requests[name].priority is Priority.BATCH
        return self.arrivals_s[name] + (self.setting.batch_delay_s if is_batch else 0.0)

    def _note(self, event: TokenEvent) -> None:
        assert event.request_id not in self.finished
        assert event.offset == len(self.received[event.request_id])
        self.received[event.request_id].extend(event.token_ids)
        if event.finish_reason is not None:
            self.finished[event.request_id] = event.finish_reason


def run_trace(operations: list[Operation], setting: Setting, guesses: random.Random | None) -> None:
    """Every request gets all its tokens, unless it is aborted or has waited too long; every block comes back."""
    trace = Trace(setting, guesses)
    for index, operation in enumerate(operations):
        trace.add(operation.request(str(index)), urgent=index % 5 == 4)
        for _ in range(operation.num_steps):
            trace.step()
        if operation.aborts:
            trace.abort(str(index // 2))
    for _ in range(3000):
        if not trace.pipeline.has_work:
            break
        trace.step()
    assert not trace.pipeline.has_work, "starved"
    trace.pipeline.check()
    assert trace.scheduler.pool.usage.used == trace.scheduler.num_promised_blocks == 0
    note_event(f"preempted {min(len(trace.pipeline.victims), 3)}, expired {min(len(trace.expired), 3)}")
    for index, operation in enumerate(operations):
        tokens, expected = trace.received[str(index)], operation.expected()
        if trace.finished[str(index)] is FinishReason.ABORT:
            assert tokens == expected[: len(tokens)]
        else:
            assert tokens == expected
            stopped = trace.finished[str(index)] is FinishReason.STOP
            assert stopped == (operation.stop_token_id in expected)


@settings(max_examples=500, deadline=None)
@given(operations=operations, setting=some_settings, guesses=st.none() | st.randoms(use_true_random=False))
def test_every_request_comes_to_its_end_and_no_promise_is_broken(
    operations: list[Operation], setting: Setting, guesses: random.Random | None
) -> None:
    run_trace(operations, setting, guesses)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=5000, deadline=None)
@given(operations=operations, setting=some_settings, guesses=st.none() | st.randoms(use_true_random=False))
def test_nor_in_thousands_of_traces(
    operations: list[Operation], setting: Setting, guesses: random.Random | None
) -> None:
    run_trace(operations, setting, guesses)
