"""Who is served before whom."""

from dataclasses import replace

from llama4coder.engine.sequence import Sequence
from llama4coder.engine.waiting import WaitingQueue
from llama4coder.types import Priority
from tests.support.scheduling import request

BATCH_DELAY_S = 30.0


class Queue:
    """A queue under test."""

    def __init__(self) -> None:
        self.queue = WaitingQueue(BATCH_DELAY_S)
        self.sequences: dict[str, Sequence] = {}

    def add(
        self,
        name: str,
        arrival_s: float,
        priority: Priority = Priority.INTERACTIVE,
        *,
        urgent: bool = False,
        preempted: bool = False,
        begun: tuple[int, ...] = (),
    ) -> None:
        number = len(self.sequences)
        wanted = replace(request(name, [1, 2, 3], 8, priority), output_token_ids=begun)
        seq = Sequence(number, wanted, [1, 2, 3, *begun], number, arrival_s, urgent, preempted=preempted)
        self.sequences[name] = seq
        self.queue.add(seq)

    @property
    def order(self) -> str:
        return "".join(seq.request.request_id for seq in self.queue)


def test_first_come_first_served() -> None:
    queue = Queue()
    for name, arrival_s in (("b", 2.0), ("a", 1.0), ("c", 2.0)):
        queue.add(name, arrival_s)
    assert queue.order == "abc"


def test_interactive_goes_before_batch_until_batch_has_aged() -> None:
    queue = Queue()
    queue.add("x", 0.0, Priority.BATCH)
    queue.add("y", 1.0, Priority.BATCH)
    for name, arrival_s in (("a", 5.0), ("b", 29.9), ("c", 30.5), ("d", 40.0)):
        queue.add(name, arrival_s)
    assert queue.order == "abxcyd"
    assert (len(queue.queue), queue.queue.num_batch, queue.queue.num_tokens) == (6, 2, 18)


def test_probes_then_the_begun_then_the_new() -> None:
    queue = Queue()
    queue.add("n", 0.0)
    queue.add("q", 7.0, preempted=True)
    queue.add("p", 5.0, preempted=True)
    queue.add("c", 6.0, begun=(4, 5))
    queue.add("u", 9.0, urgent=True)
    assert queue.order == "upcqn"


def test_who_is_removed_leaves_the_others_in_their_order() -> None:
    queue = Queue()
    for index, name in enumerate("abc"):
        queue.add(name, float(index))
    for seq in queue.queue:
        if seq.request.request_id == "b":
            queue.queue.remove(seq)
    assert queue.order == "ac"


def test_only_the_new_have_a_deadline() -> None:
    queue = Queue()
    queue.add("u", 0.0, urgent=True)
    queue.add("p", 0.0, preempted=True)
    queue.add("c", 0.0, begun=(4,))
    queue.add("a", 1.0)
    queue.add("x", 2.0, Priority.BATCH)
    queue.add("b", 3.0)
    assert [seq.request.request_id for seq in queue.queue.new_since(2.0)] == ["a", "x"]
    assert queue.queue.new_since(0.5) == []
