"""RMS normalisation in Triton, alone or after adding to the residual stream, and rounded to FP8 if so wanted."""

import triton
import triton.language as tl

from llama4coder.gpu.fp8_kernels import quantise_row


@triton.jit
def rms_norm_kernel(out_ptr, scales_ptr, sum_ptr, x_ptr, delta_ptr, weight_ptr, eps, WIDTH: tl.constexpr,
                    BLOCK: tl.constexpr, ADD: tl.constexpr, QUANTISE: tl.constexpr):  # fmt: skip
    """One row of `[num_tokens, WIDTH]` per program; ADD stores x + delta to `sum` and normalises that."""
    row = tl.program_id(0).to(tl.int64) * WIDTH
    columns = tl.arange(0, BLOCK)
    valid = columns < WIDTH
    x = tl.load(x_ptr + row + columns, mask=valid, other=0.0)
    dtype = x.dtype
    if ADD:
        x = (x.to(tl.float32) + tl.load(delta_ptr + row + columns, mask=valid, other=0.0).to(tl.float32)).to(dtype)
        tl.store(sum_ptr + row + columns, x, mask=valid)
    wide = x.to(tl.float32)
    scale = tl.rsqrt(tl.sum(wide * wide, axis=0) / WIDTH + eps)
    weight = tl.load(weight_ptr + columns, mask=valid, other=0.0).to(tl.float32)
    # Rounded before the weight, as the models were trained.
    normed = ((wide * scale).to(dtype).to(tl.float32) * weight).to(dtype)
    if QUANTISE:
        rounded, fp8_scale = quantise_row(normed.to(tl.float32))
        tl.store(out_ptr + row + columns, rounded, mask=valid)
        tl.store(scales_ptr + tl.program_id(0), fp8_scale)
    else:
        tl.store(out_ptr + row + columns, normed, mask=valid)
