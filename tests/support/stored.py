"""Checkpoints as other tools quantise them, and what their tensors stand for."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import bitsandbytes.functional as bnb
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

FILE = "model.safetensors"
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Stored:
    """One matrix: its tensors by what follows the module's name, and what they mean in float32."""

    tensors: Mapping[str, Tensor]
    meaning: Tensor


Store = Callable[[Tensor], Stored]


def four_bits(kind: str, *, double: bool, group: int = 64, storage: torch.dtype = torch.uint8) -> Store:
    """By bitsandbytes."""

    def store(weight: Tensor) -> Stored:
        packed, state = bnb.quantize_4bit(
            weight, blocksize=group, quant_type=kind, compress_statistics=double, quant_storage=storage
        )
        parts = {f".weight.{key}": value for key, value in state.as_dict(packed=True).items()}
        return Stored({".weight": packed} | parts, _meaning(packed, state))

    return store


def _meaning(packed: Tensor, state: bnb.QuantState) -> Tensor:
    """One weight after the other: bitsandbytes' own, on CPUs, is wrong where a row does not end with a group."""
    nibbles = [nibble for byte in packed.view(torch.uint8).flatten().tolist() for nibble in (byte >> 4, byte & 15)]
    scales = state.absmax
    if state.nested:
        scales = bnb.dequantize_blockwise(state.absmax, state.state2) + state.offset
    return (state.code[nibbles] * scales.repeat_interleave(state.blocksize)[: len(nibbles)]).view(state.shape)


def eight_bits(weight: Tensor) -> Stored:
    """By bitsandbytes."""
    values, largest, _ = bnb.int8_vectorwise_quant(weight.half())
    extra = {".weight_format": torch.tensor(0, dtype=torch.uint8)}
    return Stored({".weight": values, ".SCB": largest} | extra, bnb.int8_vectorwise_dequant(values, largest))


def fp8(block_rows: int | None, block_columns: int | None, mark: str, dtype: torch.dtype = torch.float32) -> Store:
    """With a scale for each block, of all rows or columns where None."""

    def store(weight: Tensor) -> Stored:
        rows, columns = block_rows or weight.shape[0], block_columns or weight.shape[1]
        scales = torch.stack(
            [
                torch.stack([tile.abs().max() / 448 for tile in band.split(columns, dim=1)])
                for band in weight.split(rows, dim=0)
            ]
        ).to(dtype)
        wide = scales.float().repeat_interleave(rows, 0).repeat_interleave(columns, 1)
        wide = wide[: weight.shape[0], : weight.shape[1]]
        values = (weight / wide).clamp(-448, 448).to(torch.float8_e4m3fn)
        scales = scales.reshape(()) if scales.numel() == 1 else scales
        return Stored({".weight": values, mark: scales, ".input_scale": torch.tensor(1.0)}, values.float() * wide)

    return store


def compressed(strategy: str, **weights: object) -> dict[str, object]:
    """`quantization_config` of compressed-tensors."""
    scheme = {"num_bits": 8, "type": "float", "strategy": strategy, "symmetric": True, "dynamic": False, **weights}
    return {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "config_groups": {"group_0": {"weights": scheme, "targets": ["Linear"]}},
        "ignore": ["lm_head"],
    }


BNB4, BNB8 = (
    {"quant_method": "bitsandbytes", "load_in_4bit": True},
    {"quant_method": "bitsandbytes", "load_in_8bit": True},
)
FINE = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}

KINDS: dict[str, tuple[Store, dict[str, object]]] = {
    "nf4": (four_bits("nf4", double=False), BNB4),
    "nf4 twice": (four_bits("nf4", double=True), BNB4),
    "nf4 in bfloat16": (four_bits("nf4", double=False, storage=torch.bfloat16), BNB4),
    "nf4 in long groups": (four_bits("nf4", double=True, group=256), BNB4),
    "fp4": (four_bits("fp4", double=False), BNB4),
    "fp4 twice": (four_bits("fp4", double=True), BNB4),
    "int8": (eight_bits, BNB8),
    "fp8 tensor": (fp8(None, None, ".weight_scale"), compressed("tensor")),
    "fp8 channel": (fp8(1, None, ".weight_scale", torch.bfloat16), compressed("channel")),
    "fp8 block": (fp8(32, 48, ".weight_scale"), compressed("block", block_structure=[32, 48])),
    "fbgemm": (fp8(1, None, ".weight_scale"), {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}),
    "fine-grained": (fp8(128, 128, ".weight_scale_inv"), FINE),
}


def store_folder(folder: Path, kind: str, *, spared: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Quantise the matrices of a checkpoint's layers in place, except those of `spared` modules.

    Returns what all tensors mean.
    """
    store, settings = KINDS[kind]
    meant, written = {}, {}
    for name, tensor in load_file(folder / FILE).items():
        module = name.removesuffix(".weight")
        meant[name], written[name] = tensor.float(), tensor
        if module.endswith(PROJECTIONS) and module != name and module not in spared:
            stored = store(tensor.float())
            meant[name] = stored.meaning.float()
            written |= {module + mark: part.contiguous() for mark, part in stored.tensors.items()}
    save_file(written, folder / FILE)
    configure(folder, quantization_config=settings)
    return meant


def configure(folder: Path, **changes: object) -> None:
    """Change `config.json`."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
