"""The instructions that look levels up, run one by one: PTX needs a GPU, its meaning does not."""

import random
from collections.abc import Mapping

import pytest
import torch

from llama4coder.gpu.nf4_levels import ASM
from llama4coder.quant.formats import NF4_LEVELS

_WORD = 0xFFFFFFFF


def permuted(a: int, b: int, selector: int) -> int:
    """`prmt.b32`: byte i is that of the eight bytes of b and a which the selector's nibble i names, or its sign."""
    chosen = a.to_bytes(4, "little") + b.to_bytes(4, "little")
    nibbles = [selector >> 4 * index & 15 for index in range(4)]
    signs = [0xFF if chosen[nibble & 7] & 0x80 else 0 for nibble in nibbles]
    picked = [sign if nibble & 8 else chosen[nibble & 7] for nibble, sign in zip(nibbles, signs, strict=True)]
    return int.from_bytes(bytes(picked), "little")


def run(asm: str, registers: Mapping[str, int]) -> dict[str, int]:
    """All registers after the instructions of a block."""
    values = dict(registers)

    def value(name: str) -> int:
        return values[name] if name in values else int(name, 0)

    for line in asm.strip().strip("{}").split(";"):
        operation, _, operands = line.strip().partition(" ")
        if not operation or operation == ".reg":
            continue
        target, *names = operands.split(", ")
        inputs = [value(name) for name in names]
        match operation:
            case "and.b32":
                values[target] = inputs[0] & inputs[1]
            case "shr.u32":
                values[target] = inputs[0] >> inputs[1]
            case "lop3.b32":
                assert inputs[3] == 0xEA, "which is (a and b) or c"
                values[target] = inputs[0] & inputs[1] | inputs[2]
            case "prmt.b32":
                values[target] = permuted(*inputs)
            case _:
                raise AssertionError(f"unknown instruction {operation}")
        assert 0 <= values[target] <= _WORD
    return values


@pytest.mark.parametrize("dtype", ASM)
def test_every_code_becomes_its_level(dtype: torch.dtype) -> None:
    bits = [number & 0xFFFF for number in torch.tensor(NF4_LEVELS, dtype=dtype).view(torch.int16).tolist()]
    chance = random.Random(0)
    packed = [bytes((byte, *chance.randbytes(3))) for byte in range(256)] + [chance.randbytes(4) for _ in range(256)]
    for four in packed:
        after = run(ASM[dtype], {"$4": int.from_bytes(four, "little")})
        lows, highs = [bits[byte & 15] for byte in four], [bits[byte >> 4] for byte in four]
        expected = [levels[pair] | levels[pair + 1] << 16 for levels in (lows, highs) for pair in (0, 2)]
        assert [after[f"${index}"] for index in range(4)] == expected
