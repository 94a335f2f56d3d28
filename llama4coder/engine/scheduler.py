"""What the next step computes: continuous batching with chunked prefill, prefix caching and preemption.

Pure decisions over the block pool: no clock, no I/O, no torch. Each plan of `schedule` is committed once, in order, but
the next ones may be scheduled before: a plan needs to know how many tokens there will be, not which. Blocks are free at
once when a sequence ends or is preempted, even if a planned step still writes to them: ranks execute plans in order, so
whoever gets the block next writes later.

Priorities within a step: running sequences that need one token; then guesses of what follows it, as far as there is
room without taking it from anybody; then running prefills, oldest first; then admission in the order of the queue. A
sequence is admitted only when blocks for all its tokens and for the output to be expected can be promised to it, so
a prefill never stalls for memory. Whoever outgrows its reservation is promised more; where that cannot be, the newest
sequence is preempted. Its full blocks are cached then like any prefix: they stay while nobody else needs the room, then
move to host memory, and only what finds no room there is computed again. Nothing is dropped.
Where blocks lie on several KV shards, the fullest of them decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from llama4coder.engine.output_lengths import OutputLengths
from llama4coder.engine.passages import Aborted, Admission, Readmission
from llama4coder.engine.plan import RowResult, StepPlan, StepResult, StepRow
from llama4coder.engine.preemption import choose_victim, readmission
from llama4coder.engine.prefixes import Prefixes
from llama4coder.engine.reservations import Reservations
from llama4coder.engine.sequence import Sequence
from llama4coder.engine.step_draft import StepDraft
from llama4coder.engine.waiting import WaitingQueue
from llama4coder.errors import ContextTooLong, UnsupportedOption
from llama4coder.kv.block_pool import BlockPool, FoundPrefix
from llama4coder.spec.types import DraftQuery, RowOutcome
from llama4coder.types import FinishReason, GenerateRequest, TokenEvent

_EXTENSION_BLOCKS = 4  # of a reservation that was too small: asked for seldom, and given when little is left


@dataclass(frozen=True, slots=True)
class SchedulerLimits:
    """The bounds of one step, and how long requests wait."""

    block_size: int
    context_length: int
    max_sequences: int
    max_step_tokens: int
    prefix_caching: bool
    queue_timeout_s: float
    batch_delay_s: float
    block_bounds: bool = False  # are kept, so that a request may read a few blocks only


class Scheduler:
    """Owns every sequence from `add` to its last event, and all references to its blocks; has no clock."""

    def __init__(self, pool: BlockPool, limits: SchedulerLimits) -> None:
        self.pool = pool
        self.limits = limits
        self.output_lengths = OutputLengths()
        self.num_preemptions = 0
        self.admissions: list[Admission] = []  # of the last schedule
        self.readmissions: list[Readmission] = []  # the same
        self.outcomes: list[RowOutcome] = []  # of the last commit
        self._reservations = Reservations(pool)
        self._prefixes = Prefixes(pool, limits.block_size, is_enabled=limits.prefix_caching)
        self._waiting = WaitingQueue(limits.batch_delay_s)
        self._running: list[Sequence] = []  # oldest first
        self._by_request: dict[str, Sequence] = {}
        self._by_id: dict[int, Sequence] = {}
        self._gone: list[int] = []  # the ranks still know them
        self._num_added = 0
        self._next_seq_id = 0
        self._next_step_id = 0

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_waiting_batch(self) -> int:
        return self._waiting.num_batch

    @property
    def num_waiting_tokens(self) -> int:
        return self._waiting.num_tokens

    @property
    def num_promised_blocks(self) -> int:
        return self._reservations.num_promised

    @property
    def num_available_blocks(self) -> int:
        """Of the fullest shard, those that can be promised to somebody new."""
        return self._reservations.num_available

    @property
    def num_running_tokens(self) -> int:
        """Tokens that the running sequences hold, computed or not."""
        return sum(len(seq.token_ids) for seq in self._running)

    @property
    def num_prefill_tokens(self) -> int:
        """Tokens to be computed before every sequence can generate; of the waiting ones, without cached prefixes."""
        running = sum(seq.num_unplanned for seq in self._running if seq.num_unplanned > 1)
        return running + sum(self._prefixes.num_uncached(seq) for seq in self._waiting)

    @property
    def has_work(self) -> bool:
        return bool(self._running or self._waiting)

    def check_fits(self, request: GenerateRequest) -> None:
        """Raise `ContextTooLong` if it can never be held, `UnsupportedOption` if it needs bounds that nobody keeps."""
        if request.top_blocks is not None and not self.limits.block_bounds:
            raise UnsupportedOption("this engine keeps no bounds of KV blocks (engine.block_bounds)", "top_blocks")
        num_prompt, num_output = len(request.prompt_token_ids), request.stop.max_tokens
        asked = f"{num_prompt} prompt tokens and {num_output} output tokens"
        if num_prompt == 0 or num_prompt + num_output > self.limits.context_length:
            problem = f"do not fit the context of {self.limits.context_length} tokens, or there is no prompt at all"
            raise ContextTooLong(f"{asked} {problem}", None, num_prompt, self.limits.context_length)
        num_needed = self._reservations.num_most(self._num_blocks(num_prompt + max(0, num_output - 1)))
        num_there = self.pool.num_blocks // self.pool.num_shards
        if num_needed > num_there:
            num_tokens = self.pool.num_blocks * self.limits.block_size
            problem = f"need {num_needed} KV blocks of one shard, which has {num_there}: {num_tokens} tokens at most"
            raise ContextTooLong(f"{asked} {problem}", None, num_prompt, num_tokens)

    def add(self, request: GenerateRequest, arrival_s: float, *, urgent: bool = False) -> None:
        """Queue a request that fits and came at this time; an urgent one goes first."""
        token_ids = [*request.prompt_token_ids, *request.output_token_ids]
        self._num_added += 1
        seq = Sequence(self._take_seq_id(), request, token_ids, self._num_added, arrival_s, urgent)
        self._by_request[request.request_id] = seq
        self._by_id[seq.seq_id] = seq
        self._waiting.add(seq)

    def note_queue_time(self, request_id: str, queue_time_s: float) -> None:
        """Let its first event say how long a request has waited that was just admitted."""
        self._by_request[request_id].queue_time_s = queue_time_s

    def abort(self, request_id: str) -> Aborted | None:
        """Forget a request between steps; its blocks are free at once. None for an unknown id."""
        seq = self._by_request.get(request_id)
        if seq is None:
            return None
        is_running = seq in self._running
        if is_running:
            self._running.remove(seq)
            self._learn_length(seq, is_cut=False)  # most are aborted by their stop strings
        else:
            self._waiting.remove(seq)
        self._forget(seq)
        return Aborted(seq.num_output, seq.preempted and not is_running)

    def expire(self, now_s: float) -> list[str]:
        """Forget the requests that have waited too long without having begun; returns their ids."""
        expired = self._waiting.new_since(now_s - self.limits.queue_timeout_s)
        for seq in expired:
            self._waiting.remove(seq)
            self._forget(seq)
        return [seq.request.request_id for seq in expired]

    def decoding(self) -> list[str]:
        """The running requests that generate, whether or not their last token is known yet."""
        return [seq.request.request_id for seq in self._running if seq.num_computed >= seq.num_prompt]

    def queries(self) -> list[DraftQuery]:
        """What may be guessed in the next step: for sequences whose tokens are known, and all but the last computed."""
        return [
            DraftQuery(seq.request.request_id, seq.token_ids, room)
            for seq in self._running
            if seq.num_unplanned == 1 and not seq.num_awaited and (room := seq.room_for_draft - 1) > 0
        ]

    def schedule(self, drafts: Mapping[str, tuple[int, ...]] | None = None) -> StepPlan | None:
        """Choose the next step's rows; None when there is nothing to compute.

        `drafts` answer `queries` in part. A plan with guesses must be committed before the next one is scheduled: it
        alone knows how many tokens there will be.
        """
        self.admissions, self.readmissions = [], []
        step = StepDraft(self.limits.max_step_tokens)
        preempted = self._schedule_running(step, drafts or {})
        if not preempted:
            self._admit(step)
        moves = self.pool.take_moves()
        if not step.rows and not self._gone and moves.is_empty:
            return None
        gone, self._gone = tuple(self._gone), []
        self._next_step_id += 1
        new = tuple(seq.announce() for seq in step.admitted)
        return StepPlan(self._next_step_id, gone, new, tuple(step.rows.values()), moves.saves, moves.loads)

    def commit(self, plan: StepPlan, result: StepResult) -> list[TokenEvent]:
        """Book what the step computed; returns what to tell the requests."""
        assert result.step_id == plan.step_id, "results out of order"
        self.outcomes = []
        by_id = {row.seq_id: row for row in result.rows}
        events = (self._commit_row(row, by_id.get(row.seq_id)) for row in plan.rows)
        return [event for event in events if event is not None]

    def check_integrity(self) -> None:
        """Assert that blocks and sequences agree; with nothing running, that no block is in use."""
        self.pool.check_integrity()
        self._reservations.check_integrity(self._running)
        if not self._running:
            assert self.pool.usage.used == 0, f"{self.pool.usage.used} blocks leaked"
        if not self._waiting:
            assert self.pool.host.usage.pinned == 0, "content is pinned for nobody"
        assert len(self._by_id) == len(self._running) + len(self._waiting), "a sequence is lost"

    # --- one step -------------------------------------------------------------------------------------------------

    def _schedule_running(self, step: StepDraft, drafts: Mapping[str, tuple[int, ...]]) -> bool:
        """Give rows to running sequences; returns whether one had to be preempted."""
        num_preemptions = self.num_preemptions
        for seq in [seq for seq in self._running if seq.num_unplanned == 1]:
            self._secure_growth(seq)
        decodes = [seq for seq in self._running if seq.num_unplanned == 1]
        prefills = [seq for seq in self._running if seq.num_unplanned > 1]
        self._continue(decodes, step)
        for seq in decodes:
            draft = drafts.get(seq.request.request_id)
            if draft is not None and seq.seq_id in step.rows:
                self._add_draft(step, seq, draft)
        self._continue(prefills, step)
        return self.num_preemptions > num_preemptions

    def _continue(self, sequences: list[Sequence], step: StepDraft) -> None:
        for seq in sequences:
            num_tokens = step.room_for(seq)
            if num_tokens:
                self._add_row(step, seq, num_tokens)

    def _add_draft(self, step: StepDraft, seq: Sequence, draft: tuple[int, ...]) -> None:
        """Let the step check guesses as well: as many as are of use, and as have room."""
        num_tokens = min(len(draft), seq.room_for_draft, step.num_tokens_left)
        while num_tokens and not self._reservations.extend(seq, self._num_blocks(seq.num_planned + num_tokens)):
            num_tokens -= 1
        if num_tokens:
            new_block_ids = self._grow(seq, seq.num_planned + num_tokens)
            step.extend(seq.seq_id, draft[:num_tokens], new_block_ids)
            seq.num_planned += num_tokens

    def _secure_growth(self, seq: Sequence) -> None:
        """Have a running sequence promised what its next token needs, and some more; preempts others, or itself."""
        needed = self._num_blocks(seq.num_planned + 1)
        wished = min(needed + _EXTENSION_BLOCKS, self._num_blocks(seq.num_worthwhile))
        while seq in self._running and needed > seq.num_reserved:
            if not (self._reservations.extend(seq, wished) or self._reservations.extend(seq, needed)):
                self._preempt(choose_victim(self._running))

    def _preempt(self, seq: Sequence) -> None:
        """Under its new id the results of steps that are on their way mean nothing to it."""
        self.num_preemptions += 1
        self._running.remove(seq)
        self._prefixes.pin(seq)
        self._reservations.release(seq)
        self._gone.append(seq.seq_id)
        del self._by_id[seq.seq_id]
        seq.restart(self._take_seq_id())
        self._by_id[seq.seq_id] = seq
        self._waiting.add(seq)

    def _admit(self, step: StepDraft) -> None:
        pending = self._prefixes.pending(self._running) if self._waiting else set()
        for seq in self._waiting:
            if not step.num_tokens_left or len(self._running) >= self.limits.max_sequences:
                return
            if not step.room_for(seq):
                continue  # its prompt is scored, as is one that runs
            cached = self._prefixes.find(seq)
            if self._prefixes.is_pending(seq, cached, pending):
                continue  # a running prefill is about to cache what this one would compute again
            if not self._reservations.can_admit(self._num_wanted_blocks(seq), cached):
                return  # later, smaller ones do not overtake
            self._start(seq, cached)
            step.admitted.append(seq)
            self._add_row(step, seq, step.room_for(seq))
            pending.update(seq.block_hashes[cached.num_blocks :])

    def _num_wanted_blocks(self, seq: Sequence) -> int:
        """What it is promised when it is admitted: its tokens and the output to be expected, or once preempted all."""
        num_left = seq.num_worthwhile - len(seq.token_ids)
        if not seq.preempted:
            num_left = min(num_left, self.output_lengths.expected(seq.num_output) - seq.num_output)
        return self._num_blocks(len(seq.token_ids) + num_left)

    def _start(self, seq: Sequence, cached: FoundPrefix) -> None:
        self._waiting.remove(seq)
        self._running.append(seq)
        self._reservations.admit(seq, self._num_wanted_blocks(seq), cached)
        self._prefixes.unpin(seq)
        self._reservations.take(seq, self._num_blocks(len(seq.token_ids)))
        num_cached_tokens = cached.num_blocks * self.limits.block_size
        seq.num_computed = seq.num_planned = num_cached_tokens
        seq.num_registered = cached.num_blocks
        if not seq.admitted:
            seq.admitted = True
            seq.num_cached = num_cached_tokens
            num_host_tokens = len(cached.on_host) * self.limits.block_size
            admission = Admission(
                seq.request.request_id, seq.arrival_s, seq.num_prompt, num_cached_tokens, num_host_tokens
            )
            self.admissions.append(admission)
        if seq.preempted:
            self.readmissions.append(readmission(seq, num_cached_tokens))

    def _add_row(self, step: StepDraft, seq: Sequence, num_tokens: int) -> None:
        end = seq.num_planned + num_tokens
        samples = end == seq.num_expected and seq.request.stop.max_tokens > 0
        step.add(seq, StepRow(seq.seq_id, seq.num_planned, num_tokens, self._grow(seq, end), samples))
        seq.num_planned = end
        seq.num_awaited += samples

    def _grow(self, seq: Sequence, num_tokens: int) -> tuple[int, ...]:
        """Give it the blocks for so many tokens; returns those that the ranks do not know yet."""
        self._reservations.take(seq, self._num_blocks(num_tokens))
        new_block_ids = tuple(seq.block_ids[seq.num_sent_blocks :])
        seq.num_sent_blocks = len(seq.block_ids)
        return new_block_ids

    def _num_blocks(self, num_tokens: int) -> int:
        return -(-num_tokens // self.limits.block_size)

    def _commit_row(self, row: StepRow, result: RowResult | None) -> TokenEvent | None:
        seq = self._by_id.get(row.seq_id)
        if seq is None:
            return None  # ended, aborted or preempted since the step was planned
        seq.num_awaited -= row.samples
        num_before = len(seq.token_ids)
        if result is not None:
            seq.prompt_logprobs.extend(result.prompt_logprobs)
        event = seq.accept(row, result) if row.num_known == num_before else None
        seq.num_computed = row.num_known + (event.num_accepted if event is not None else 0)
        if row.draft_token_ids:
            seq.num_planned = seq.num_computed  # the keys and values of wrong guesses count for nothing
        self._prefixes.offer(seq)
        if event is not None:
            self._report(seq, event, num_before)
        return event

    def _report(self, seq: Sequence, event: TokenEvent, num_tokens_before: int) -> None:
        """Keep the outcome for whoever guesses, and let go of what has ended."""
        has_ended = event.finish_reason is not None
        num_drafted = event.num_accepted + event.num_rejected
        self.outcomes.append(
            RowOutcome(event.request_id, num_tokens_before, num_drafted, event.num_accepted, event.token_ids, has_ended)
        )
        if has_ended:
            self._running.remove(seq)
            self._learn_length(seq, is_cut=event.finish_reason is FinishReason.LENGTH)
            self._forget(seq)

    def _learn_length(self, seq: Sequence, *, is_cut: bool) -> None:
        if seq.num_output:
            self.output_lengths.observe(seq.num_output, is_cut=is_cut)

    def _take_seq_id(self) -> int:
        self._next_seq_id += 1
        return self._next_seq_id - 1

    def _forget(self, seq: Sequence) -> None:
        del self._by_request[seq.request.request_id]
        del self._by_id[seq.seq_id]
        self._prefixes.unpin(seq)
        self._reservations.release(seq)
        if seq.num_sent_blocks:
            self._gone.append(seq.seq_id)
