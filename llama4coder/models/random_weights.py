"""Weights that mean nothing, of any size, made on the device: for measuring, and for tests without a checkpoint."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from llama4coder.models.weights import Placement
from llama4coder.shape import ModelShape

_STD = 0.02  # as models are initialised: activations stay in range however many layers there are


class RandomWeights:
    """Implements `models.loader.TensorSource`; the same tensors in the same order for the same seed and device."""

    def __init__(self, placement: Placement, seed: int = 0) -> None:
        self._placement = placement
        self._generator = torch.Generator(placement.device).manual_seed(seed)

    def read(self, name: str, size: Sequence[int]) -> Tensor:
        """See `TensorSource.read`."""
        tensor = torch.empty(tuple(size), dtype=self._placement.dtype, device=self._placement.device)
        if "norm" in name:
            return tensor.uniform_(0.5, 1.5, generator=self._generator)
        return tensor.normal_(0.0, _STD, generator=self._generator)

    def read_rows(self, names: Sequence[str], sizes: Sequence[Sequence[int]]) -> Tensor:
        """See `TensorSource.read_rows`; filled at once, so that there is no second copy of a large matrix."""
        return self.read(names[0], (sum(size[0] for size in sizes), *sizes[0][1:]))


def _llama3(hidden_size: int, intermediate_size: int, num_layers: int, num_heads: int, head_dim: int) -> ModelShape:
    return ModelShape(
        vocab_size=128256,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=8,
        head_dim=head_dim,
        rms_norm_eps=1e-5,
        max_position=131072,
        tied_embeddings=num_layers == 16,
        qkv_bias=False,
        attention_out_bias=False,
        mlp_bias=False,
        rope={"rope_type": "default", "rope_theta": 500_000.0},
    )


SHAPES: Mapping[str, ModelShape] = {
    "1b": _llama3(2048, 8192, 16, 32, 64),
    "8b": _llama3(4096, 14336, 32, 32, 128),
    "70b": _llama3(8192, 28672, 80, 64, 128),
}
"""Llama 3's sizes; the scaling of its positions costs nothing at run time and is left out."""
