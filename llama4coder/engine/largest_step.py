"""The steps that need the most memory of a rank: what is measured before the block pool takes the rest."""

from dataclasses import replace

from llama4coder.engine.plan import NewSequence, StepPlan, StepRow
from llama4coder.kv.sizing import num_blocks_for
from llama4coder.kv.step_sizing import FILTERED_ROWS, SCORED_TOKENS, StepLimits
from llama4coder.types import SamplingParams

_PLAIN = SamplingParams(temperature=2.0)
_FILTERED = replace(_PLAIN, top_p=0.9999)  # as good as flat: no filter can do with a few candidates
# One sequence with penalties makes a copy of all logits; what is counted for each of the others is known.
_DEAREST = replace(_FILTERED, presence_penalty=0.1, frequency_penalty=0.1, repetition_penalty=1.1, num_logprobs=20)


def largest_steps(limits: StepLimits, vocab_size: int, kv_shards: int) -> tuple[StepPlan, ...]:
    """As much prompt as a step takes at the far end of the context; then a row of every sequence; then with guesses;
    then with prompt tokens that are scored in one of the rows.

    Their sequences have ids below zero, which the scheduler never uses, and are gone at the end. All their blocks are
    the first one of each shard: what lies there means nothing.
    """
    last = max(1, limits.context_length - 1)  # of the sequence: there is one token yet to come
    token_ids = tuple(index % vocab_size for index in range(last))
    blocks = tuple(index % kv_shards for index in range(num_blocks_for(limits.context_length)))
    seq_ids = tuple(range(-1, -1 - limits.max_sequences, -1))
    num_prompt = min(limits.max_step_tokens, last)
    prompt = StepRow(seq_ids[0], last - num_prompt, num_prompt, blocks, samples=True)
    samplings = (_sampling(index, limits.max_draft_tokens) for index in range(limits.max_sequences))
    new = tuple(
        NewSequence(seq_id, token_ids, last, sampling, 0, 0, ())
        for seq_id, sampling in zip(seq_ids, samplings, strict=True)
    )
    known = last - min(limits.max_draft_tokens, last - 1)
    rows = tuple(StepRow(seq_id, known - 1, 1, blocks if index else (), True) for index, seq_id in enumerate(seq_ids))
    plans = [StepPlan(0, (), new[:1], (prompt,)), StepPlan(0, (), new[1:], rows)]
    if last > known:
        plans.append(StepPlan(0, (), (), _guessing(rows, last - known, limits)))
    num_scored = min(SCORED_TOKENS, last, max(1, limits.max_step_tokens - len(rows) + 1))
    scored = StepRow(seq_ids[0], last - num_scored, num_scored, blocks, samples=True)
    scoring = NewSequence(seq_ids[0], token_ids, last, replace(_DEAREST, num_prompt_logprobs=20), 0, 0, ())
    plans.append(StepPlan(0, seq_ids[:1], (scoring,), (scored, *(replace(row, new_block_ids=()) for row in rows[1:]))))
    return (*plans, StepPlan(0, seq_ids, (), ()))


def _sampling(index: int, num_drafts: int) -> SamplingParams:
    """Of one sequence: as many are filtered as meet at once."""
    if index == 0:
        return _DEAREST
    return _FILTERED if index * (1 + num_drafts) < FILTERED_ROWS else _PLAIN


def _guessing(rows: tuple[StepRow, ...], num_drafts: int, limits: StepLimits) -> tuple[StepRow, ...]:
    """The same rows with as many guesses as a step has room for."""
    left = limits.max_step_tokens - len(rows)
    guessing = []
    for row in rows:
        num_guesses = min(num_drafts, left)
        left -= num_guesses
        guessing.append(StepRow(row.seq_id, row.start, 1 + num_guesses, (), True, (0,) * num_guesses))
    return tuple(guessing)
