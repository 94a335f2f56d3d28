"""Our forward pass against Hugging Face's, on tiny random weights in float32."""

from pathlib import Path

import pytest
import torch

from llama4coder.engine.plan import NewSequence, StepPlan, StepRow
from llama4coder.engine.runner import ModelRunner
from llama4coder.engine.step_batch import build_batch
from llama4coder.progress import NullProgress
from llama4coder.types import SamplingParams
from tests.support.engines import resolved
from tests.support.models import write_tiny_llama

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}

CASES = {
    "gqa": {},
    "mha": {"num_key_value_heads": 4},
    "mqa": {"num_key_value_heads": 1},
    "tied": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "head_dim": {"head_dim": 32},
    "llama3_rope": {"rope_parameters": LLAMA3_ROPE},
    "linear_rope": {"rope_parameters": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}},
}


def logits_in_chunks(folder: Path, token_ids: list[int], chunks: list[int]) -> torch.Tensor:
    """Logits of every position, computed through paged KV in chunks, with the blocks in a scattered order."""
    config = resolved(folder, num_blocks=40)
    runner = ModelRunner.load(config, NullProgress())
    new = NewSequence(7, tuple(token_ids), len(token_ids), SamplingParams(), 0, 0, ())
    num_blocks = -(-len(token_ids) // config.engine.block_size)
    blocks = torch.randperm(40)[:num_blocks].tolist()
    logits, start = [], 0
    for index, num_tokens in enumerate(chunks):
        row = StepRow(7, start, num_tokens, tuple(blocks) if index == 0 else (), samples=False)
        plan = StepPlan(index, (), (new,) if index == 0 else (), (row,))
        runner._state.apply(plan)
        batch = build_batch(plan, runner._state, torch.device("cpu"))
        with torch.inference_mode():
            hidden = runner._model.forward(batch.token_ids, batch.positions, runner._kv, batch.attention)
            logits.append(runner._model.logits(hidden))
        start += num_tokens
    return torch.cat(logits)


@pytest.mark.parametrize("chunks", [[100], [1] * 100, [64, 33, 1, 2]], ids=["whole", "one-by-one", "chunked"])
@pytest.mark.parametrize("case", CASES)
def test_logits_equal_hugging_face(tmp_path: Path, case: str, chunks: list[int]) -> None:
    reference = write_tiny_llama(tmp_path, **CASES[case])
    token_ids = torch.randint(0, 512, (100,)).tolist()
    with torch.inference_mode():
        expected = reference(torch.tensor([token_ids])).logits[0]
    torch.testing.assert_close(logits_in_chunks(tmp_path, token_ids, chunks), expected, atol=2e-4, rtol=2e-4)
