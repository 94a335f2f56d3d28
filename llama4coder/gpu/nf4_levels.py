"""From codes of 4 bits to levels without memory: four bytes at a time, by permutations of bytes, in PTX.

A permutation picks bytes by the low three bits of each code, out of the upper and out of the lower eight levels; a
second one takes, by the fourth bit, the one or the other. A lookup in memory per weight is three times as slow.
"""

from collections.abc import Mapping

import torch

from llama4coder.quant.formats import NF4_LEVELS

# $4 is four bytes of two codes each; $0 and $1 become the levels of their low halves, $2 and $3 those of the high ones.
_TEMPLATE = """
{{
.reg .b32 low, low_too, upper, upper_too, a, b, h, h_too, l, l_too;
and.b32 low, $4, 0x77777777;
shr.u32 low_too, low, 16;
shr.u32 upper, $4, 1;
lop3.b32 upper, upper, 0x44444444, 0x32103210, 0xEA;
shr.u32 upper_too, upper, 16;
prmt.b32 a, {h0}, {h1}, low;
prmt.b32 b, {h2}, {h3}, low;
prmt.b32 h, a, b, upper;
prmt.b32 a, {h0}, {h1}, low_too;
prmt.b32 b, {h2}, {h3}, low_too;
prmt.b32 h_too, a, b, upper_too;
prmt.b32 a, {l0}, {l1}, low;
prmt.b32 b, {l2}, {l3}, low;
prmt.b32 l, a, b, upper;
prmt.b32 a, {l0}, {l1}, low_too;
prmt.b32 b, {l2}, {l3}, low_too;
prmt.b32 l_too, a, b, upper_too;
prmt.b32 $0, l, h, 0x6240;
prmt.b32 $1, l_too, h_too, 0x6240;
prmt.b32 $2, l, h, 0x7351;
prmt.b32 $3, l_too, h_too, 0x7351;
}}
"""


def levels_asm(dtype: torch.dtype) -> str:
    """The instructions that give levels of a dtype of 16 bits."""
    numbers = [bits & 0xFFFF for bits in torch.tensor(NF4_LEVELS, dtype=dtype).view(torch.int16).tolist()]
    halves = {"h": [number >> 8 for number in numbers], "l": [number & 0xFF for number in numbers]}
    words = {
        f"{name}{index}": f"0x{int.from_bytes(bytes(half[4 * index : 4 * index + 4]), 'little'):08x}"
        for name, half in halves.items()
        for index in range(4)
    }
    return _TEMPLATE.format(**words)


ASM: Mapping[torch.dtype, str] = {dtype: levels_asm(dtype) for dtype in (torch.bfloat16, torch.float16)}
