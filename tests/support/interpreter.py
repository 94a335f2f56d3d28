"""What triton's interpreter gets wrong, mended: its rounding loses carries, and bfloat16 are integers to it.

It also makes triton's language its own anew for each function that a kernel calls, which takes longer than all else;
the kernel itself has done it already, but for the modules in which triton's own functions see the language.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter

_TORCH = {
    tl.float32: torch.float32,
    tl.float16: torch.float16,
    tl.bfloat16: torch.bfloat16,
    tl.float8e4nv: torch.float8_e4m3fn,
}
_BITS = {8: torch.uint8, 16: torch.uint16, 32: torch.uint32}


def mend(patch: Callable[[object, str, object], None]) -> None:
    """Replace the faulty functions by `patch(owner, name, value)`."""
    multiply = interpreter.InterpreterBuilder.create_dot

    def create_dot(builder: Any, a: Any, b: Any, *others: Any) -> Any:
        return multiply(builder, _exact(a), _exact(b), *others)

    seen: set[str] = set()

    def call(function: Any, *args: Any, **kwargs: Any) -> Any:
        module = function.fn.__module__
        if module.startswith("triton.") and module not in seen:
            seen.add(module)
            interpreter._patch_lang(function.fn)
        return function.rewrite()(*args, **kwargs)

    to_float = interpreter.InterpreterBuilder.create_si_to_fp

    def create_si_to_fp(builder: Any, source: Any, target: tl.dtype) -> Any:
        if target.scalar != tl.bfloat16:
            return to_float(builder, source, target)
        bits = _convert(source.data.astype(np.float32), tl.float32, tl.bfloat16, None)
        return interpreter.TensorHandle(bits, tl.bfloat16)

    patch(interpreter.InterpretedFunction, "__call__", call)
    patch(interpreter.InterpreterBuilder, "create_si_to_fp", create_si_to_fp)
    patch(interpreter, "_convert_float", _convert)
    patch(interpreter.InterpreterBuilder, "create_dot", create_dot)


def _convert(data: Any, source: tl.dtype, target: tl.dtype, _: object) -> Any:
    bits = torch.from_numpy(np.array(data)).view(_TORCH[source])
    return bits.to(_TORCH[target]).view(_BITS[target.primitive_bitwidth]).numpy()


def _exact(operand: Any) -> Any:
    if operand.dtype.scalar != tl.bfloat16:
        return operand
    return interpreter.TensorHandle(_convert(operand.data, tl.bfloat16, tl.float32, None).view(np.float32), tl.float32)
