"""How many parameters a model has, counted in its tensors' headers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llama4coder.inspection.files import TensorHeader
from llama4coder.inspection.quantisation import Quantisation

# What stands beside quantised weights, and buffers that old checkpoints hold: none of them are parameters.
_BESIDE = (
    *(".absmax", ".nested_absmax", ".quant_map", ".nested_quant_map", ".SCB", ".weight_format"),
    *("_scale", "_scale_inv", "_scale_2", "_scales", ".scales", ".qzeros", ".g_idx", "_g_idx"),
    *("_zero_point", "_shape", "rotary_emb.inv_freq", "rope_freqs.weight"),
)
_PACKING_BITS = {"I32": 32, "U8": 8}  # of types that hold several weights of fewer bits


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the headers add up to."""

    total: int
    by_dtype: Mapping[str, int]  # parameters by the type that they are stored in, the most first
    num_bytes: int  # of all tensors, scales included


def count_parameters(tensors: Sequence[TensorHeader], quantisation: Quantisation | None) -> Parameters:
    """Weights that are packed into wider integers count one by one."""
    counts: dict[str, int] = {}
    for tensor in tensors:
        if not _is_beside(tensor.name):
            counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.num_elements * _packed(tensor, quantisation)
    by_dtype = dict(sorted(counts.items(), key=lambda item: -item[1]))
    return Parameters(sum(counts.values()), by_dtype, sum(tensor.num_bytes for tensor in tensors))


def _is_beside(name: str) -> bool:
    return name.endswith(_BESIDE) or ".quant_state." in name


def _packed(tensor: TensorHeader, quantisation: Quantisation | None) -> int:
    """Parameters in one element."""
    if quantisation is None or quantisation.bits is None:
        return 1
    return max(1, _PACKING_BITS.get(tensor.dtype, 0) // quantisation.bits)
