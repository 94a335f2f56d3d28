"""A whole model on native kernels: as close to float32 as torch's bfloat16 is."""

import ctypes
from pathlib import Path

import pytest
import torch

from llama4coder.engine import loading_rank
from llama4coder.layers.kernels import TorchKernels
from llama4coder.native.kernels import NativeKernels
from llama4coder.progress import NullProgress
from tests.models.cases import CHUNKS
from tests.support.engines import resolved
from tests.support.logits import NUM_BLOCKS, logits_in_chunks
from tests.support.models import write_tiny, write_tiny_llama

CASES: dict[str, tuple[str, dict[str, object]]] = {
    "gqa": ("llama", {"hidden_size": 128}),
    "untied, biases": ("llama", {"hidden_size": 128, "attention_bias": True, "mlp_bias": True}),
    "tied": ("llama", {"hidden_size": 128, "tie_word_embeddings": True}),
    "odd sizes": ("llama", {"hidden_size": 72, "head_dim": 32, "intermediate_size": 104, "vocab_size": 509}),
    "mistral": ("mistral", {"hidden_size": 128, "sliding_window": 24}),
    "qwen3": ("qwen3", {"hidden_size": 128, "head_dim": 32}),
    "smollm3": ("smollm3", {"hidden_size": 128, "no_rope_layers": [0, 1], "pad_token_id": None}),
}


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize("case", CASES)
def test_logits_are_as_close_as_torch_gets(
    library: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, chunks: list[int]
) -> None:
    model_type, overrides = CASES[case]
    reference = write_tiny(tmp_path, model_type, initializer_range=0.05, **overrides)
    token_ids = torch.randint(0, 500, (100,)).tolist()
    with torch.inference_mode():
        exact = reference(torch.tensor([token_ids])).logits[0]
    config = resolved(tmp_path, num_blocks=NUM_BLOCKS, dtype="bfloat16")
    errors = {}
    for name, kernels in (("torch", TorchKernels()), ("native", NativeKernels(library))):
        monkeypatch.setattr(loading_rank, "choose_kernels", lambda *_, kernels=kernels: kernels)
        errors[name] = (logits_in_chunks(config, token_ids, chunks) - exact).square().mean().sqrt().item()
    assert errors["native"] < 1.1 * errors["torch"]


def test_bfloat16_on_this_cpu_runs_on_native_kernels(library: ctypes.CDLL, tmp_path: Path) -> None:
    write_tiny_llama(tmp_path, hidden_size=128)
    loaded = loading_rank.load_runner(
        resolved(tmp_path, num_blocks=8, context_length=64, dtype="bfloat16"), NullProgress()
    )
    assert type(loaded._forward.model.head).__name__ == "PackedLinear"
    assert type(loaded._forward.model.attention).__name__ == "NativeAttention"
