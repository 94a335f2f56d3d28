"""Compile every kernel that a piece of host code launches for a GPU that need not be there.

The interpreter accepts what the compiler does not, and knows neither registers nor shared memory.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction, mangle_type

HOPPER = GPUTarget("cuda", 90, 32)


@dataclass(frozen=True, slots=True)
class CompiledKernel:
    """What one launch needs of the device."""

    name: str
    shared_bytes: int
    ptx: str = field(repr=False)
    cubin: bytes = field(repr=False)


@contextmanager
def compiling(target: GPUTarget = HOPPER) -> Iterator[list[CompiledKernel]]:
    """Launches inside compile for `target` instead of running; the list holds what they made."""
    compiled: list[CompiledKernel] = []

    def launcher(kernel: JITFunction, grid: object) -> Any:
        def launch(*args: object, **kwargs: object) -> None:
            compiled.append(_compile(kernel, args, kwargs, target))

        return launch

    with patch.object(JITFunction, "__getitem__", launcher):
        yield compiled


def _compile(
    kernel: JITFunction, args: tuple[object, ...], kwargs: Mapping[str, object], target: GPUTarget
) -> CompiledKernel:
    options = {name: kwargs[name] for name in ("num_warps", "num_stages") if name in kwargs}
    given = dict(zip(kernel.arg_names, args, strict=False)) | {
        name: value for name, value in kwargs.items() if name not in options
    }
    signature, constants, attributes = {}, {}, {}
    for index, param in enumerate(kernel.params):
        value = given[param.name]
        if param.is_constexpr or value is None:
            signature[param.name] = "constexpr"
            constants[param.name] = value
            continue
        signature[param.name] = mangle_type(value)
        aligned = isinstance(value, torch.Tensor) or (isinstance(value, int) and value % 16 == 0)
        if aligned and not param.do_not_specialize:
            attributes[(index,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, attributes)
    made = triton.compile(source, target=target, options=options)
    return CompiledKernel(made.metadata.name, made.metadata.shared, made.asm["ptx"], made.asm["cubin"])
