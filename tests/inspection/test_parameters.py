"""Parameters are counted, not estimated: in shards, in packed integers, and without what stands beside them."""

import json
from pathlib import Path

import pytest

from llama4coder.errors import CheckpointError
from llama4coder.inspection.files import TensorHeader
from llama4coder.inspection.parameters import count_parameters
from llama4coder.inspection.quantisation import Quantisation
from llama4coder.inspection.safetensors_headers import read_headers
from tests.inspection.model_folder import write_tensors


def test_shards_of_an_index_count_once(tmp_path: Path) -> None:
    """Mistral's folders have the same weights once more in a file of their own."""
    write_tensors(tmp_path / "a.safetensors", {"x.weight": ("BF16", (3, 4))})
    write_tensors(tmp_path / "b.safetensors", {"y.weight": ("F32", (5,))})
    write_tensors(tmp_path / "consolidated.safetensors", {"z": ("BF16", (100,))})
    index = {"weight_map": {"x.weight": "a.safetensors", "y.weight": "b.safetensors", "w": "missing.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    found = count_parameters(read_headers(tmp_path), None)
    assert (found.total, found.by_dtype, found.num_bytes) == (17, {"BF16": 12, "F32": 5}, 44)


def test_without_an_index_every_file_counts(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", {"x": ("BF16", (3, 4))})
    write_tensors(tmp_path / "b.safetensors", {"y": ("BF16", (5,))})
    assert count_parameters(read_headers(tmp_path), None).total == 17


@pytest.mark.parametrize(
    ("quantisation", "tensors", "total"),
    [
        (  # bitsandbytes packs two weights in a byte
            Quantisation("bitsandbytes", 4, "nf4"),
            {
                "q.weight": ("U8", 50),
                "q.weight.absmax": ("F32", 2),
                "q.weight.quant_map": ("F32", 16),
                "q.weight.quant_state.bitsandbytes__nf4": ("U8", 80),
                "norm.weight": ("BF16", 10),
            },
            110,
        ),
        (  # GPTQ packs eight weights in an integer
            Quantisation("gptq", 4, ""),
            {"q.qweight": ("I32", 10), "q.qzeros": ("I32", 3), "q.scales": ("F16", 4), "q.g_idx": ("I32", 9)},
            80,
        ),
        (Quantisation("awq", 8, ""), {"q.qweight": ("I32", 10)}, 40),
        (Quantisation("fp8", 8, ""), {"q.weight": ("F8_E4M3", 10), "q.weight_scale_inv": ("F32", 2)}, 10),
        (
            Quantisation("compressed-tensors", 4, ""),
            {"q.weight_packed": ("I32", 10), "q.weight_scale": ("BF16", 4), "q.weight_shape": ("I32", 2)},
            80,
        ),
        (None, {"q.weight": ("BF16", 10), "layers.0.rotary_emb.inv_freq": ("F32", 8)}, 10),
    ],
)
def test_packed_weights(quantisation: Quantisation | None, tensors: dict[str, tuple[str, int]], total: int) -> None:
    headers = [TensorHeader(name, dtype, size, 0) for name, (dtype, size) in tensors.items()]
    assert count_parameters(headers, quantisation).total == total


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no such file at all, and longer than eight bytes",
        (4).to_bytes(8, "little") + b"oops",
        (2).to_bytes(8, "little") + b"[]",
        (10).to_bytes(8, "little") + b'{"x": {}} ',
        (2**40).to_bytes(8, "little"),
    ],
)
def test_damaged_headers(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="not that of a safetensors file"):
        read_headers(tmp_path)


def test_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="cannot read"):
        read_headers(tmp_path)
