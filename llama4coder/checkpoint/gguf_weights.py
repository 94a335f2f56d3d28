"""The weights of a model in a GGUF file under Hugging Face's names, undone of what llama.cpp did to them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from gguf import ReaderTensor
from gguf.quants import dequantize

from llama4coder.checkpoint.gguf_config import GgufShape
from llama4coder.checkpoint.gguf_file import GgufFile
from llama4coder.checkpoint.gguf_rope import FREQUENCY_FACTORS
from llama4coder.errors import CheckpointError

_PART_VALUES = 2**18  # float32 values held at once: 1 MiB, so that unpacking and rounding stay in the cache


@dataclass(frozen=True, slots=True)
class GgufWeight:
    """One tensor to convert; see `bfloat16_file.TensorSource`."""

    file: GgufFile
    tensor: ReaderTensor
    name: str  # Hugging Face's
    shape: tuple[int, ...]
    num_interleaved_heads: int = 0  # of a query or key projection

    def parts(self) -> Iterator[npt.NDArray[np.float32]]:
        """The values in Hugging Face's row order; `CheckpointError` if they are not all finite numbers."""
        rows = self._row_order()
        rows_per_part = max(1, _PART_VALUES // math.prod(self.shape[1:]))
        for start in range(0, len(rows), rows_per_part):
            stored = self.tensor.data[rows[start : start + rows_per_part]]
            try:
                values = dequantize(stored, self.tensor.tensor_type)
            except (NotImplementedError, ValueError) as error:
                raise CheckpointError(
                    f"{self.file.path}: {self.tensor.name} is stored in a way not supported"
                ) from error
            if not np.isfinite(values).all():
                raise self.file.damaged(f"{self.tensor.name} holds values that are not finite")
            yield np.ascontiguousarray(values, dtype=np.float32)

    def _row_order(self) -> npt.NDArray[np.intp]:
        """Which stored row comes when.

        For some architectures llama.cpp rotates neighbouring rows of a head, Hugging Face row i with row
        i + head_dim / 2: llama.cpp's converter has interleaved the two halves of each query and key head, and this
        takes them apart again.
        """
        rows = np.arange(self.shape[0])
        if not self.num_interleaved_heads:
            return rows
        return rows.reshape(self.num_interleaved_heads, -1, 2).swapaxes(1, 2).reshape(-1)


def read_weights(file: GgufFile, shape: GgufShape) -> list[GgufWeight]:
    """Every weight of the model; `CheckpointError` for one that is missing, of another shape, or not known here."""
    weights = [*_outer_weights(file, shape)]
    for layer in range(shape.num_layers):
        weights += _layer_weights(file, shape, layer)
    unknown = set(file.tensors) - {weight.tensor.name for weight in weights} - {FREQUENCY_FACTORS}
    if unknown:
        raise CheckpointError(f"{file.path} has a tensor {min(unknown)}, which the conversion does not support")
    return weights


def _outer_weights(file: GgufFile, shape: GgufShape) -> Iterator[GgufWeight]:
    hidden, vocab = shape.hidden_size, shape.vocab_size
    yield _weight(file, "token_embd.weight", "model.embed_tokens.weight", (vocab, hidden))
    yield _weight(file, "output_norm.weight", "model.norm.weight", (hidden,))
    if not shape.ties_embeddings:
        yield _weight(file, "output.weight", "lm_head.weight", (vocab, hidden))


def _layer_weights(file: GgufFile, shape: GgufShape, layer: int) -> Iterator[GgufWeight]:
    source, target = f"blk.{layer}", f"model.layers.{layer}"
    hidden, inner, q_size = shape.hidden_size, shape.intermediate_size, shape.num_heads * shape.head_dim
    yield _weight(file, f"{source}.attn_norm.weight", f"{target}.input_layernorm.weight", (hidden,))
    for name, num_heads in (("q", shape.num_heads), ("k", shape.num_kv_heads), ("v", shape.num_kv_heads)):
        stored, projection = f"{source}.attn_{name}", f"{target}.self_attn.{name}_proj"
        size = num_heads * shape.head_dim
        num_interleaved = num_heads if shape.family.interleaves_heads and name != "v" else 0
        yield _weight(file, f"{stored}.weight", f"{projection}.weight", (size, hidden), num_interleaved)
        if shape.family.qkv_bias:
            yield _weight(file, f"{stored}.bias", f"{projection}.bias", (size,), num_interleaved)
    if shape.family.qk_norm:
        for name in ("q", "k"):
            norm = f"{target}.self_attn.{name}_norm.weight"
            yield _weight(file, f"{source}.attn_{name}_norm.weight", norm, (shape.head_dim,))
    yield _weight(file, f"{source}.attn_output.weight", f"{target}.self_attn.o_proj.weight", (hidden, q_size))
    yield _weight(file, f"{source}.ffn_norm.weight", f"{target}.post_attention_layernorm.weight", (hidden,))
    yield _weight(file, f"{source}.ffn_gate.weight", f"{target}.mlp.gate_proj.weight", (inner, hidden))
    yield _weight(file, f"{source}.ffn_up.weight", f"{target}.mlp.up_proj.weight", (inner, hidden))
    yield _weight(file, f"{source}.ffn_down.weight", f"{target}.mlp.down_proj.weight", (hidden, inner))


def _weight(
    file: GgufFile, source: str, target: str, shape: tuple[int, ...], num_interleaved_heads: int = 0
) -> GgufWeight:
    tensor = file.tensors.get(source)
    if tensor is None:
        raise file.damaged(f"the tensor {source} is missing")
    stored = tuple(int(size) for size in reversed(tensor.shape))  # GGUF counts the fastest dimension first
    if stored != shape:
        raise file.damaged(f"{source} has the shape {stored} instead of {shape}")
    return GgufWeight(file, tensor, target, shape, num_interleaved_heads)
