"""The engine's thread: bounds, aborts, death, and what reaches the sinks."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from llama4coder.engine.engine import Engine
from llama4coder.engine.plan import StepPlan, StepResult
from llama4coder.engine.thread import EngineThread, QueueLimits
from llama4coder.errors import ContextTooLong, EngineDead, Overloaded, QueueTimeout, Unavailable
from llama4coder.obs.stats import NullObserver
from llama4coder.types import FinishReason, TokenEvent
from tests.support.engines import greedy_request, resolved
from tests.support.fake_rank import FakeRank
from tests.support.models import write_tiny_llama


class GatedExecutor:
    """A fake rank that answers only while its gate is open, and dies when told to."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.dies = False
        self.closed = False
        self.num_steps = 0
        self._rank = FakeRank(max_sequences=2, block_size=16)
        self._results: list[StepResult] = []

    def submit(self, plan: StepPlan) -> None:
        self._results.append(self._rank.execute(plan))

    def ready(self, timeout_s: float) -> bool:
        return bool(self._results) and self.gate.wait(timeout_s)

    def collect(self, timeout_s: float) -> StepResult:
        self.gate.wait()
        self.num_steps += 1
        if self.dies:
            raise EngineDead("the rank is gone")
        return self._results.pop(0)

    def close(self) -> None:
        self.closed = True


class RecordingSink:
    def __init__(self) -> None:
        self.events: list[TokenEvent] = []
        self.error: Unavailable | None = None
        self.done = threading.Event()

    def publish(self, events: Sequence[TokenEvent]) -> None:
        self.events.extend(events)
        if any(event.finish_reason for event in events):
            self.done.set()

    def reject(self, request_id: str, error: QueueTimeout) -> None:
        self.error = error
        self.done.set()

    def fail(self, error: Unavailable) -> None:
        self.error = error
        self.done.set()


class Rig:
    """A running thread over a gated executor."""

    def __init__(self, folder: Path, queue_timeout_s: float = 120.0) -> None:
        self.executor = GatedExecutor()
        config = resolved(folder, num_blocks=64, max_sequences=2, queue_timeout_s=queue_timeout_s)
        self.thread = EngineThread(Engine(config, self.executor, NullObserver()), QueueLimits(2, 3))

    def submit(self, request_id: str, max_tokens: int = 4, *, urgent: bool = False) -> RecordingSink:
        sink = RecordingSink()
        self.thread.submit(greedy_request(request_id, [1, 2, 3], max_tokens), sink, urgent=urgent)
        return sink


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    write_tiny_llama(tmp_path)
    rig = Rig(tmp_path)
    rig.thread.start()
    yield rig
    rig.executor.gate.set()
    rig.thread.stop()
    assert rig.executor.closed


def test_events_arrive_in_order_and_end_once(rig: Rig) -> None:
    sink = rig.submit("a")
    assert sink.done.wait(10)
    assert [event.offset for event in sink.events] == [0, 1, 2, 3]
    assert [event.finish_reason for event in sink.events] == [None, None, None, FinishReason.LENGTH]


def test_the_queue_is_bounded_but_not_for_the_probe(rig: Rig) -> None:
    rig.executor.gate.clear()
    sinks = [rig.submit(str(index)) for index in range(5)]  # two may run, three may wait
    with pytest.raises(Overloaded, match=r"3 requests are waiting already; try again in 3 s") as caught:
        rig.submit("one too many")
    assert caught.value.retry_after_s == 3.0, "a second for each, until it knows how fast the queue moves"
    sinks.append(rig.submit("probe", urgent=True))
    rig.executor.gate.set()
    assert all(sink.done.wait(10) and sink.events[-1].finish_reason for sink in sinks)


def test_what_has_begun_elsewhere_is_not_refused_for_a_full_queue(rig: Rig) -> None:
    """Somebody is reading it: under load it would be refused again and again until its reader is cut off."""
    rig.executor.gate.clear()
    sinks = [rig.submit(str(index)) for index in range(5)]
    moved = RecordingSink()
    rig.thread.submit(replace(greedy_request("moved", [1, 2, 3], 4), output_token_ids=(7, 8)), moved)
    rig.executor.gate.set()
    assert all(sink.done.wait(10) for sink in (*sinks, moved))
    assert [event.offset for event in moved.events] == [2, 3]


def test_load_has_every_request_once(rig: Rig) -> None:
    rig.executor.gate.clear()
    sinks = [rig.submit(str(index)) for index in range(4)]
    load = rig.thread.load()
    assert load.stats.num_running + load.stats.num_waiting + load.num_arriving == 4
    assert load.num_arriving_tokens == 3 * load.num_arriving
    assert load.num_free_places == 1
    rig.executor.gate.set()
    assert all(sink.done.wait(10) for sink in sinks)
    rig.thread.stop()
    load = rig.thread.load()
    assert (load.stats.num_running, load.num_arriving, load.num_free_places) == (0, 0, 5)


def test_what_can_never_fit_is_refused_at_once(rig: Rig) -> None:
    with pytest.raises(ContextTooLong):
        rig.submit("long", max_tokens=10_000)


def test_who_has_waited_too_long_is_rejected_and_nobody_else(tmp_path: Path) -> None:
    write_tiny_llama(tmp_path)
    rig = Rig(tmp_path, queue_timeout_s=0.2)
    rig.executor.gate.clear()
    sinks = [rig.submit(str(index)) for index in range(3)]  # two may run
    rig.thread.start()
    time.sleep(0.4)
    rig.executor.gate.set()
    assert all(sink.done.wait(10) for sink in sinks)
    assert [sink.error for sink in sinks[:2]] == [None, None]
    assert isinstance(sinks[2].error, QueueTimeout) and sinks[2].events == []
    assert 1.0 <= sinks[2].error.retry_after_s <= 600.0
    assert "within 0.2 s" in str(sinks[2].error)
    assert rig.submit("after").done.wait(10)
    rig.thread.stop()


def test_nothing_follows_an_abort_and_its_blocks_are_free_within_a_step(rig: Rig) -> None:
    rig.executor.gate.clear()
    sink = rig.submit("a", max_tokens=400)
    other = rig.submit("b")
    rig.thread.abort("a")
    rig.thread.abort("a")
    rig.thread.abort("never heard of")
    rig.executor.gate.set()
    assert other.done.wait(10)
    num_events = len(sink.events)
    assert rig.submit("c").done.wait(10)
    assert len(sink.events) == num_events <= 1
    assert not sink.done.is_set()
    assert rig.thread.stats().num_used_blocks == 0


def test_death_reaches_every_waiting_request_and_every_later_one(rig: Rig) -> None:
    rig.executor.gate.clear()
    sinks = [rig.submit(str(index)) for index in range(4)]
    rig.executor.dies = True
    rig.executor.gate.set()
    assert all(sink.done.wait(10) for sink in sinks)
    assert all(isinstance(sink.error, EngineDead) for sink in sinks)
    with pytest.raises(EngineDead, match="gone"):
        rig.submit("late")
    with pytest.raises(EngineDead):
        rig.thread.check()


def test_a_fault_in_the_engine_is_a_death_that_names_no_content(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prompt_text = "".join(("sec", "ret"))

    def broken(self: FakeRank, plan: StepPlan) -> StepResult:
        raise ValueError(prompt_text)

    monkeypatch.setattr(FakeRank, "execute", broken)
    sink = rig.submit("a")
    assert sink.done.wait(10)
    assert "ValueError" in str(sink.error) and "secret" not in str(sink.error)
    assert "in broken" in caplog.text and "secret" not in caplog.text


def test_stopping_fails_what_still_runs(rig: Rig) -> None:
    sink = rig.submit("a", max_tokens=500)
    rig.thread.stop()
    assert sink.error is not None or sink.events[-1].finish_reason is not None
    with pytest.raises(EngineDead):
        rig.submit("b")
