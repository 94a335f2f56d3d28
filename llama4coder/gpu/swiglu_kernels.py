"""SiLU(gate) * up in Triton, rounded to FP8 if so wanted."""

import triton
import triton.language as tl

from llama4coder.gpu.fp8_kernels import quantise_row


@triton.jit
def _gated(gate_up_ptr, row, columns, WIDTH: tl.constexpr):
    gate = tl.load(gate_up_ptr + row * 2 * WIDTH + columns, mask=columns < WIDTH, other=0.0)
    up = tl.load(gate_up_ptr + row * 2 * WIDTH + WIDTH + columns, mask=columns < WIDTH, other=0.0)
    wide = gate.to(tl.float32)
    return (wide * tl.sigmoid(wide) * up.to(tl.float32)).to(gate.dtype)


@triton.jit
def swiglu_kernel(out_ptr, gate_up_ptr, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Grid is (num_tokens, blocks of columns)."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + row * WIDTH + columns, _gated(gate_up_ptr, row, columns, WIDTH), mask=columns < WIDTH)


@triton.jit
def swiglu_quantise_kernel(out_ptr, scales_ptr, gate_up_ptr, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """One row per program, whose largest value sets its scale."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    rounded, scale = quantise_row(_gated(gate_up_ptr, row, columns, WIDTH).to(tl.float32))
    tl.store(out_ptr + row * WIDTH + columns, rounded, mask=columns < WIDTH)
    tl.store(scales_ptr + row, scale)
