"""Numbers of few bits in Triton: what `kv.formats` keeps, made and read by the same rules."""

import triton
import triton.language as tl

# `gpu.pool.PoolFormat`; those that keep each sequence's last tokens dense come last.
DENSE = tl.constexpr(0)
INT8 = tl.constexpr(1)
FP8 = tl.constexpr(2)
FP8_BY_BITS = tl.constexpr(3)  # for devices that have no such numbers
INT4 = tl.constexpr(4)


@triton.jit
def round_even(x):
    """To the nearest whole number, and of two to the even one; `x` is below 2 ** 22."""
    return (x + 12582912.0) - 12582912.0  # above 2 ** 23 there is nothing between whole numbers


@triton.jit
def inverse_of(scale):
    """What multiplies by it divides by `scale`; 0 where there is nothing but zeros."""
    return tl.where(scale > 0, 1.0 / tl.where(scale > 0, scale, 1.0), 0.0)


@triton.jit
def to_e4m3(x):
    """The bits of the nearest e4m3 numbers to float32 numbers of up to 448."""
    bits = tl.abs(x).to(tl.int32, bitcast=True)
    rounded = bits + 0x7FFFF + ((bits >> 20) & 1)  # three bits of the fraction stay; a carry is the next exponent's
    normal = (rounded >> 20) - ((127 - 7) << 3)
    subnormal = round_even(tl.abs(x) * 512.0).to(tl.int32)
    code = tl.where(tl.abs(x) < 0.015625, subnormal, normal)
    return tl.where(x < 0, code | 0x80, code).to(tl.uint8)


@triton.jit
def from_e4m3(code, dtype: tl.constexpr, FORMAT: tl.constexpr):
    """What the bits mean; exact in every dtype of models."""
    if FORMAT == FP8:
        number = code.to(tl.float8e4nv, bitcast=True).to(dtype)
    else:
        wide = code.to(tl.int16)
        half = ((wide & 0x80) << 8) | ((wide & 0x7F) << 7)  # as float16, whose exponents begin 8 lower
        number = (half.to(tl.float16, bitcast=True).to(tl.float32) * 256.0).to(dtype)
    return number


@triton.jit
def largest_of(low, high):
    """The largest absolute value of each row of two halves."""
    return tl.maximum(tl.max(tl.abs(low), axis=1), tl.max(tl.abs(high), axis=1))


@triton.jit
def to_int8(x, inverse):
    """`x` in steps of 1 / inverse."""
    return tl.clamp(round_even(x * inverse), -127.0, 127.0).to(tl.int8)


@triton.jit
def int4_scale(lowest, highest):
    """What 15 steps from `lowest`, which is rounded first, to `highest` come to."""
    return ((highest - lowest.to(tl.float32)) / 15.0).to(tl.float16)


@triton.jit
def to_int4(x, low, scale):
    """Steps from `low`."""
    steps = round_even((x - low.to(tl.float32)) * inverse_of(scale.to(tl.float32)))
    return tl.clamp(steps, 0.0, 15.0).to(tl.uint8)


@triton.jit
def from_int4(steps, low, scale, dtype: tl.constexpr):
    """The numbers so many steps from `low`."""
    return (steps.to(tl.float32) * scale.to(tl.float32) + low.to(tl.float32)).to(dtype)
