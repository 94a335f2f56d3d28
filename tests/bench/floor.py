"""How many bytes of weights one decoded token must read, by format: what the floors are made of."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from llama4coder.checkpoint.gguf_file import GgufFile
from llama4coder.shape import ModelShape

_BITS: Mapping[str, int] = MappingProxyType({"int8": 8, "int4": 4, "bfloat16": 16, "float32": 32})


def bytes_per_token(shape: ModelShape, dtype: str, quant: str) -> int:
    """Bytes of all matrices but an embedding of its own, of which a token reads one row; without scales.

    `quant` is "none" for weights of `dtype`.
    """
    num_weights = shape.num_parameters
    if not shape.tied_embeddings:
        num_weights -= shape.vocab_size * shape.hidden_size
    return num_weights * _BITS.get(quant, _BITS[dtype]) // 8


def gguf_bytes_per_token(path: Path) -> int:
    """The same of a GGUF file, with scales, whatever its formats."""
    tensors = GgufFile(path).tensors
    read = [tensor for name, tensor in tensors.items() if name != "token_embd.weight" or "output.weight" not in tensors]
    return sum(int(tensor.n_bytes) for tensor in read)
