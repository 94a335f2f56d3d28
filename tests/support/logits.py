"""The logits of every position, through the runner and its paged KV."""

import torch

from llama4coder.engine.loading_rank import load_runner
from llama4coder.engine.plan import NewSequence, StepPlan, StepRow
from llama4coder.progress import NullProgress
from llama4coder.resolved import ResolvedConfig
from llama4coder.types import SamplingParams

NUM_BLOCKS = 40


def logits_in_chunks(config: ResolvedConfig, token_ids: list[int], chunks: list[int]) -> torch.Tensor:
    """Logits of every position, computed through paged KV in chunks, with the blocks in a scattered order."""
    runner = load_runner(config, NullProgress())
    new = NewSequence(7, tuple(token_ids), len(token_ids), SamplingParams(), 0, 0, ())
    num_blocks = -(-len(token_ids) // config.engine.block_size)
    blocks = torch.randperm(NUM_BLOCKS)[:num_blocks].tolist()
    logits, start = [], 0
    for index, num_tokens in enumerate(chunks):
        row = StepRow(7, start, num_tokens, tuple(blocks) if index == 0 else (), samples=False)
        plan = StepPlan(index, (), (new,) if index == 0 else (), (row,))
        with torch.inference_mode():
            runner._state.apply(plan)
            logits.append(runner._forward(plan, range(num_tokens)).clone().cpu())
        start += num_tokens
    return torch.cat(logits)
