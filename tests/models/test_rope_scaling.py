"""Scaled positions against Hugging Face's, beyond the window that the model was trained for."""

from pathlib import Path

import pytest
import torch

from llama4coder.errors import CheckpointError
from tests.support.engines import resolved
from tests.support.logits import NUM_BLOCKS, logits_in_chunks
from tests.support.models import write_tiny

ORIGINAL = 64  # positions
FACTORS = {"short_factor": [1.0 + 0.1 * pair for pair in range(8)], "long_factor": [2.0 + pair for pair in range(8)]}
SCALINGS: dict[str, dict[str, object]] = {
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 4.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": ORIGINAL},
    "yarn, tuned": {"rope_type": "yarn", "factor": 4.0, "beta_fast": 16.0, "beta_slow": 2.0, "attention_factor": 1.3},
    "longrope": {"factor": 4.0, "original_max_position_embeddings": ORIGINAL, **FACTORS},
    "llama3": {
        **{"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        "original_max_position_embeddings": ORIGINAL,
    },
}


@pytest.mark.parametrize("num_tokens", [ORIGINAL, 200])
@pytest.mark.parametrize("name", SCALINGS)
def test_logits_equal_hugging_face(tmp_path: Path, name: str, num_tokens: int) -> None:
    """Some scalings depend on the context, which is here as long as what is computed."""
    rope = {"rope_type": name, "rope_theta": 10_000.0, **SCALINGS[name]}
    is_extended = "original_max_position_embeddings" in rope
    max_position = 4 * ORIGINAL if is_extended else ORIGINAL
    reference = write_tiny(tmp_path, "llama", max_position_embeddings=max_position, rope_parameters=rope)
    token_ids = torch.randint(0, 512, (num_tokens,)).tolist()
    with torch.inference_mode():
        expected = reference(torch.tensor([token_ids])).logits[0]
    config = resolved(tmp_path, num_blocks=NUM_BLOCKS, context_length=num_tokens)
    actual = logits_in_chunks(config, token_ids, [30, num_tokens - 31, 1])
    torch.testing.assert_close(actual, expected, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize(
    ("rope", "named"),
    [({"rope_type": "spiral", "factor": 2.0}, "spiral"), ({"rope_type": "longrope", "factor": 2.0}, "short_factor")],
)
def test_what_is_unknown_or_lacks_something_is_named(tmp_path: Path, rope: dict[str, object], named: str) -> None:
    write_tiny(tmp_path, "llama")
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"rope_type": "default"', f'"nothing": 0, {_fields(rope)}'))
    with pytest.raises(CheckpointError, match=named):
        logits_in_chunks(resolved(tmp_path, num_blocks=NUM_BLOCKS), [1, 2, 3], [3])


def _fields(rope: dict[str, object]) -> str:
    return ", ".join(
        f'"{key}": "{value}"' if isinstance(value, str) else f'"{key}": {value}' for key, value in rope.items()
    )
