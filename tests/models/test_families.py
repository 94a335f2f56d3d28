"""Each family's logits against Hugging Face's, on tiny random weights in float32."""

from pathlib import Path

import pytest
import torch

from tests.models.cases import CHUNKS, FAMILIES
from tests.support.engines import resolved
from tests.support.logits import NUM_BLOCKS, logits_in_chunks
from tests.support.models import write_tiny


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize("case", FAMILIES)
def test_logits_equal_hugging_face(tmp_path: Path, case: str, chunks: list[int]) -> None:
    model_type, overrides = FAMILIES[case]
    reference = write_tiny(tmp_path, model_type, **overrides)
    token_ids = torch.randint(0, 512, (100,)).tolist()
    with torch.inference_mode():
        expected = reference(torch.tensor([token_ids])).logits[0]
    actual = logits_in_chunks(resolved(tmp_path, num_blocks=NUM_BLOCKS), token_ids, chunks)
    torch.testing.assert_close(actual, expected, atol=2e-4, rtol=2e-4)
