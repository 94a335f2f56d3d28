"""One request as the scheduler sees it: its tokens, how many are computed, and the blocks that hold them."""

from dataclasses import dataclass, field

from llama4coder.engine.plan import NewSequence, RowResult, StepRow
from llama4coder.kv.block_hash import BlockHash
from llama4coder.kv.sparsity import Sparsity
from llama4coder.types import FinishReason, GenerateRequest, PositionLogprobs, TokenEvent


@dataclass(slots=True, eq=False, repr=False)
class Sequence:
    """Mutable state of one admitted request; only the scheduler changes it.

    tokens:  [ prompt ........................ | output ........ | awaited ]
             [ computed: KV is in blocks ... | planned |                   ]
    blocks:  [b0][b1][b2] ... cover at least the computed and planned tokens

    Plans run ahead of their results: a token that a planned step will sample counts before its value is known.
    """

    seq_id: int  # by which the ranks know it; a new one after each preemption
    request: GenerateRequest
    token_ids: list[int]
    number: int  # counts arrivals
    arrival_s: float
    urgent: bool = False
    num_computed: int = 0
    num_planned: int = 0  # tokens that plans have put through the model, computed ones included
    num_awaited: int = 0  # tokens that planned steps will sample
    queue_time_s: float = 0.0  # until its first admission
    num_cached: int = 0  # computed tokens that came from the prefix cache at first admission
    block_ids: list[int] = field(default_factory=list)
    num_reserved: int = 0  # blocks that it holds or has been promised
    block_hashes: list[BlockHash] = field(default_factory=list)
    num_registered: int = 0  # blocks offered to the prefix cache
    num_sent_blocks: int = 0  # blocks the ranks know of
    num_pinned: int = 0  # blocks whose content is kept for it while it waits after a preemption
    num_uncached: int | None = None  # tokens to compute that were not cached when it began to wait, once known
    admitted: bool = False  # has left the queue once
    preempted: bool = False  # has been sent back to it
    num_lost: int = 0  # tokens that were computed when it was
    prompt_logprobs: list[PositionLogprobs] = field(default_factory=list)

    @property
    def num_prompt(self) -> int:
        return len(self.request.prompt_token_ids)

    @property
    def num_output(self) -> int:
        return len(self.token_ids) - self.num_prompt

    @property
    def num_shareable(self) -> int:
        """Tokens, the first ones, whose keys and values depend on the tokens before them alone.

        Those of tokens that read a few blocks only depend on how many, and on where the prompt ended: they are not what
        another request would have computed, and are not offered to it.
        """
        top_blocks = self.request.top_blocks
        if top_blocks is None:
            return len(self.token_ids)
        return min(len(self.token_ids), Sparsity.of(self.num_prompt, top_blocks).start)

    @property
    def num_expected(self) -> int:
        """Tokens it will have when every planned step is done, unless one of them ends it."""
        return len(self.token_ids) + self.num_awaited

    @property
    def num_unplanned(self) -> int:
        """Tokens that later plans must still put through the model; its last output token needs no computing."""
        return min(self.num_expected, self.num_worthwhile) - self.num_planned

    @property
    def num_worthwhile(self) -> int:
        """Tokens that it can come to put through the model."""
        return max(self.num_prompt, self.num_prompt + self.request.stop.max_tokens - 1)

    @property
    def wants_prompt_logprobs(self) -> bool:
        """Such a prompt must be computed whole; cached blocks have no logits. They are part of the first event."""
        return self.request.sampling.num_prompt_logprobs is not None and not self.request.output_token_ids

    @property
    def is_scored(self) -> bool:
        """Ranks keep the logits of its next prompt tokens."""
        return self.request.sampling.num_prompt_logprobs is not None and self.num_planned < self.num_prompt

    def accept(self, row: StepRow, result: RowResult | None) -> TokenEvent:
        """Append what a step sampled, up to the first token that ends the request, and say so."""
        offset = self.num_output
        reason = FinishReason.LENGTH if self.request.stop.max_tokens == 0 else None
        if result is not None and result.has_failed:
            reason = FinishReason.CONSTRAINT
        for token_id in result.token_ids if result is not None else ():
            self.token_ids.append(token_id)
            reason = self._finish_reason()
            if reason is not None:
                break
        new_token_ids = tuple(self.token_ids[self.num_prompt + offset :])
        num_right = len(result.token_ids) - 1 if result is not None and result.token_ids else 0
        num_accepted = min(len(new_token_ids), num_right)
        is_first = offset == 0
        return TokenEvent(
            request_id=self.request.request_id,
            offset=offset,
            token_ids=new_token_ids,
            logprobs=result.logprobs[: len(new_token_ids)] if result is not None else (),
            finish_reason=reason,
            num_cached_tokens=self.num_cached if is_first else 0,
            prompt_logprobs=(None, *self.prompt_logprobs) if is_first and self.wants_prompt_logprobs else (),
            num_accepted=num_accepted,
            num_rejected=len(row.draft_token_ids) - num_accepted,
            queue_time_s=self.queue_time_s if is_first else 0.0,
        )

    def _finish_reason(self) -> FinishReason | None:
        stop = self.request.stop
        if self.token_ids[-1] in stop.stop_token_ids and self.num_output > stop.min_tokens:
            return FinishReason.STOP
        return FinishReason.LENGTH if self.num_output >= stop.max_tokens else None

    @property
    def room_for_draft(self) -> int:
        """Guesses that can be of use: beyond the tokens that are planned, and not beyond its last one."""
        return self.num_worthwhile - self.num_planned

    def restart(self, seq_id: int) -> None:
        """After preemption: everything but the known tokens is gone, and what is awaited will be sampled again."""
        self.seq_id = seq_id
        self.preempted = True
        self.num_lost = self.num_computed
        self.num_computed = 0
        self.num_planned = 0
        self.num_awaited = 0
        self.num_registered = 0
        self.num_sent_blocks = 0
        self.num_uncached = None
        self.prompt_logprobs = []

    def announce(self) -> NewSequence:
        """How the ranks learn of it."""
        stop = self.request.stop
        return NewSequence(
            seq_id=self.seq_id,
            token_ids=tuple(self.token_ids),
            num_prompt_tokens=self.num_prompt,
            sampling=self.request.sampling,
            seed=self.request.seed,
            min_tokens=stop.min_tokens,
            stop_token_ids=tuple(sorted(stop.stop_token_ids)) if stop.min_tokens else (),
            top_blocks=self.request.top_blocks,
            constraint=self.request.constraint,
        )
