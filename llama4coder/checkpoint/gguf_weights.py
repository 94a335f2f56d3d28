"""The weights of a Llama model in a GGUF file under Hugging Face's names, undone of what llama.cpp did to them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from gguf import ReaderTensor
from gguf.quants import dequantize

from llama4coder.checkpoint.gguf_config import LlamaShape
from llama4coder.checkpoint.gguf_file import GgufFile
from llama4coder.errors import CheckpointError

_PART_VALUES = 2**21  # float32 values held at once: 8 MiB, some times that while they are unpacked


@dataclass(frozen=True, slots=True)
class GgufWeight:
    """One tensor to convert; see `bfloat16_file.TensorSource`."""

    file: GgufFile
    tensor: ReaderTensor
    name: str  # Hugging Face's
    shape: tuple[int, ...]
    num_rotary_heads: int = 0  # of a query or key projection

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

        llama.cpp rotates neighbouring rows of a head, Hugging Face row i with row i + head_dim / 2: llama.cpp's
        converter has interleaved the two halves of each query and key head, and this takes them apart again.
        """
        rows = np.arange(self.shape[0])
        if not self.num_rotary_heads:
            return rows
        return rows.reshape(self.num_rotary_heads, -1, 2).swapaxes(1, 2).reshape(-1)


def llama_weights(file: GgufFile, shape: LlamaShape) -> list[GgufWeight]:
    """Every weight of the model; `CheckpointError` for one that is missing, of another shape, or not known here."""
    weights = [*_outer_weights(file, shape)]
    for layer in range(shape.num_layers):
        weights += _layer_weights(file, shape, layer)
    unknown = set(file.tensors) - {weight.tensor.name for weight in weights}
    if unknown:
        raise CheckpointError(f"{file.path} has a tensor {min(unknown)}, which the conversion does not support")
    return weights


def _outer_weights(file: GgufFile, shape: LlamaShape) -> Iterator[GgufWeight]:
    hidden, vocab = shape.hidden_size, shape.vocab_size
    yield _weight(file, "token_embd", "model.embed_tokens", (vocab, hidden))
    yield _weight(file, "output_norm", "model.norm", (hidden,))
    if not shape.ties_embeddings:
        yield _weight(file, "output", "lm_head", (vocab, hidden))


def _layer_weights(file: GgufFile, shape: LlamaShape, layer: int) -> Iterator[GgufWeight]:
    source, target = f"blk.{layer}", f"model.layers.{layer}"
    hidden, inner = shape.hidden_size, shape.intermediate_size
    q_size, kv_size = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    yield _weight(file, f"{source}.attn_norm", f"{target}.input_layernorm", (hidden,))
    yield _weight(file, f"{source}.attn_q", f"{target}.self_attn.q_proj", (q_size, hidden), shape.num_heads)
    yield _weight(file, f"{source}.attn_k", f"{target}.self_attn.k_proj", (kv_size, hidden), shape.num_kv_heads)
    yield _weight(file, f"{source}.attn_v", f"{target}.self_attn.v_proj", (kv_size, hidden))
    yield _weight(file, f"{source}.attn_output", f"{target}.self_attn.o_proj", (hidden, q_size))
    yield _weight(file, f"{source}.ffn_norm", f"{target}.post_attention_layernorm", (hidden,))
    yield _weight(file, f"{source}.ffn_gate", f"{target}.mlp.gate_proj", (inner, hidden))
    yield _weight(file, f"{source}.ffn_up", f"{target}.mlp.up_proj", (inner, hidden))
    yield _weight(file, f"{source}.ffn_down", f"{target}.mlp.down_proj", (hidden, inner))


def _weight(file: GgufFile, source: str, target: str, shape: tuple[int, ...], num_rotary_heads: int = 0) -> GgufWeight:
    tensor = file.tensors.get(f"{source}.weight")
    if tensor is None:
        raise file.damaged(f"the tensor {source}.weight is missing")
    stored = tuple(int(size) for size in reversed(tensor.shape))  # GGUF counts the fastest dimension first
    if stored != shape:
        raise file.damaged(f"{tensor.name} has the shape {stored} instead of {shape}")
    return GgufWeight(file, tensor, f"{target}.weight", shape, num_rotary_heads)
