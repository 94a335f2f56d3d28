"""A scheduler over blocks of four tokens, and a rank that is some plans behind it."""

import random
from collections import Counter, deque
from collections.abc import Mapping

from llama4coder.engine.plan import StepPlan
from llama4coder.engine.scheduler import Scheduler, SchedulerLimits
from llama4coder.kv.block_pool import BlockPool
from llama4coder.types import GenerateRequest, Priority, SamplingParams, StopConditions, TokenEvent
from tests.support.fake_rank import FakeRank

BLOCK_SIZE = 4
CONTEXT = 64
_DEFAULTS: Mapping[str, object] = {
    "context_length": CONTEXT,
    "max_sequences": 4,
    "max_step_tokens": 16,
    "prefix_caching": True,
    "queue_timeout_s": 1e9,
    "batch_delay_s": 30.0,
}


def make_scheduler(num_blocks: int = 16, num_shards: int = 1, host_slots: int = 0, **overrides: object) -> Scheduler:
    """With so many blocks on each shard, and so many slots in its host memory."""
    limits = SchedulerLimits(BLOCK_SIZE, **{**_DEFAULTS, **overrides})
    return Scheduler(BlockPool(num_blocks, num_shards, host_slots), limits)


def request(
    request_id: str, prompt: list[int], max_tokens: int, priority: Priority = Priority.INTERACTIVE, **sampling: int
) -> GenerateRequest:
    stop = StopConditions(max_tokens)
    return GenerateRequest(request_id, tuple(prompt), SamplingParams(**sampling), stop, seed=0, priority=priority)


def expect_outputs(scheduler: Scheduler, num_tokens: int) -> None:
    """Let it have seen many outputs of this length, so that it reserves no more for the next ones."""
    for _ in range(100):
        scheduler.output_lengths.observe(num_tokens, is_cut=False)


def expected_tokens(num_prompt: int, max_tokens: int) -> list[int]:
    """What `FakeRank` answers."""
    return [(num_prompt + index) % 7 for index in range(max_tokens)]


class Pipeline:
    """A scheduler and a rank that is up to `depth` plans behind it; with a chance of guesses for what follows.

    Checks after every plan and every commit that shards keep their promises and sequences their reservations, and who
    was preempted and why.
    """

    def __init__(self, scheduler: Scheduler, depth: int, guesses: random.Random | None = None) -> None:
        self.scheduler = scheduler
        self.depth = depth
        self.num_accepted = 0
        self.num_computed = 0  # tokens
        self.victims: list[str] = []
        self._guesses = guesses
        pool = scheduler.pool
        self.rank = FakeRank(scheduler.limits.max_sequences, BLOCK_SIZE, pool.num_shards, pool.host.num_slots)
        self._planned: deque[StepPlan] = deque()

    def step(self) -> list[TokenEvent]:
        """Plan a step; commit the oldest one if the rank is far enough behind, or if there is nothing to plan."""
        if self._planned and self._planned[-1].has_drafts:
            return self.commit()
        plan = self._schedule()
        assert plan is not None or self._planned or not self.scheduler.has_work, "stuck"
        if plan is not None:
            assert plan.num_tokens <= self.scheduler.limits.max_step_tokens
            self._planned.append(plan)
            self.num_computed += plan.num_tokens
        if plan is not None and len(self._planned) < self.depth:
            return []
        return self.commit()

    def commit(self) -> list[TokenEvent]:
        if not self._planned:
            return []
        plan = self._planned.popleft()
        events = self.scheduler.commit(plan, self.rank.execute(plan))
        self.check()
        self.num_accepted += sum(event.num_accepted for event in events)
        return events

    def check(self) -> None:
        """The scheduler's own checks, and the promise of each shard counted afresh."""
        self.scheduler.check_integrity()
        pool, running = self.scheduler.pool, self.scheduler._running
        num_shards = pool.num_shards
        used = Counter(block % num_shards for block in {block for seq in running for block in seq.block_ids})
        promised: Counter[int] = Counter()
        for seq in running:
            assert len(seq.block_ids) <= seq.num_reserved, "a reservation exceeded"
            assert seq.num_reserved <= -(-seq.num_worthwhile // BLOCK_SIZE), "more than it could ever need"
            promised.update(place % num_shards for place in range(len(seq.block_ids), seq.num_reserved))
        for shard in range(num_shards):
            assert used[shard] + promised[shard] <= pool.num_blocks // num_shards, f"shard {shard} is overbooked"
        assert self.scheduler.num_promised_blocks == promised.total()

    def _schedule(self) -> StepPlan | None:
        running = [(seq, seq.request.request_id) for seq in self.scheduler._running]
        outgrown = [
            seq for seq, _ in running if seq.num_unplanned == 1 and seq.num_planned + 1 > seq.num_reserved * BLOCK_SIZE
        ]
        plan = self.scheduler.schedule(self._drafts())
        self.check()
        victims = [name for seq, name in running if seq not in self.scheduler._running]
        assert outgrown or not victims, "growth within reservations preempted somebody"
        assert not set(victims) & set(self.victims), "preempted twice"
        self.victims += victims
        return plan

    def _drafts(self) -> dict[str, tuple[int, ...]]:
        """Mostly right, of any length, for some; none while a plan is out."""
        if self._guesses is None or self._planned:
            return {}
        drafts = {}
        for query in self.scheduler.queries():
            length, wrong_at = self._guesses.randrange(9), self._guesses.randrange(12)
            right = [(len(query.token_ids) + index) % 7 for index in range(length)]
            if length:
                drafts[query.request_id] = tuple(token if index != wrong_at else 9 for index, token in enumerate(right))
        return drafts

    @property
    def has_work(self) -> bool:
        return bool(self._planned) or self.scheduler.has_work
