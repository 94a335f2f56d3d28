"""How many bytes of weights one decoded token must read, by format: what the floors are made of."""

from pathlib import Path

from llama4coder.checkpoint.gguf_file import GgufFile
from llama4coder.config import DType, QuantFormat
from llama4coder.kv.sizing import DTYPE_BYTES, weight_bytes
from llama4coder.parallel.plan import RankPlan
from llama4coder.shape import ModelShape


def bytes_per_token(shape: ModelShape, dtype: DType, quant: QuantFormat) -> int:
    """Bytes of all matrices but an embedding of its own, of which a token reads one row."""
    table_bytes = 0 if shape.tied_embeddings else shape.vocab_size * shape.hidden_size * DTYPE_BYTES[dtype]
    return weight_bytes(RankPlan.alone(shape), dtype, quant) - table_bytes


def gguf_bytes_per_token(path: Path) -> int:
    """The same of a GGUF file, whatever its formats."""
    tensors = GgufFile(path).tensors
    read = [tensor for name, tensor in tensors.items() if name != "token_embd.weight" or "output.weight" not in tensors]
    return sum(int(tensor.n_bytes) for tensor in read)
