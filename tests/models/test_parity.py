"""Our forward pass against Hugging Face's, on tiny random weights in float32."""

from pathlib import Path

import pytest
import torch

from tests.models.cases import CHUNKS, LLAMAS
from tests.support.engines import resolved
from tests.support.logits import NUM_BLOCKS, logits_in_chunks
from tests.support.models import write_tiny_llama

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}

CASES = LLAMAS | {
    "llama3_rope": {"rope_parameters": LLAMA3_ROPE},
    "linear_rope": {"rope_parameters": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}},
}


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize("case", CASES)
def test_logits_equal_hugging_face(tmp_path: Path, case: str, chunks: list[int]) -> None:
    reference = write_tiny_llama(tmp_path, **CASES[case])
    token_ids = torch.randint(0, 512, (100,)).tolist()
    with torch.inference_mode():
        expected = reference(torch.tensor([token_ids])).logits[0]
    torch.testing.assert_close(
        logits_in_chunks(resolved(tmp_path, num_blocks=NUM_BLOCKS), token_ids, chunks), expected, atol=2e-4, rtol=2e-4
    )
