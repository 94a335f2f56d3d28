"""Compile every kernel of `llama4coder.gpu` for Hopper and write what each needs, one JSON array a line.

A program of its own: in the tests' process kernels are made for the interpreter.
"""

import json
import sys
from collections.abc import Callable

import torch

from llama4coder.attention.batch import HeadLayout
from llama4coder.config import KVFormat
from llama4coder.gpu.attention import AttentionOptions, PagedAttention, attend
from llama4coder.gpu.draw import TritonDraw
from llama4coder.gpu.fp8 import quantise
from llama4coder.gpu.merge import merge
from llama4coder.gpu.metadata import AttentionMetadata
from llama4coder.gpu.nf4 import Nf4Linear
from llama4coder.gpu.norm import GpuNorm
from llama4coder.gpu.rope import rotate_and_write
from llama4coder.gpu.swiglu import quantised_swiglu, swiglu
from llama4coder.kv.striping import UNSHARDED
from llama4coder.parallel.layout import Part
from llama4coder.sampling.draw import DrawRow
from llama4coder.sampling.noise import NoiseKey
from tests.support.compiled import compiling
from tests.support.format_steps import format_step
from tests.support.steps import Row, random_step

HALF = torch.bfloat16
HEADS = HeadLayout(32, 8, 128)


def main() -> None:
    for what, call in calls().items():
        with compiling() as made:
            call()
        for kernel in made:
            uses_tensor_cores = "wgmma.mma_async" in kernel.ptx or "mma.sync" in kernel.ptx
            line = [what, kernel.name, kernel.shared_bytes, uses_tensor_cores]
            sys.stdout.write(json.dumps(line) + "\n")


def calls() -> dict[str, Callable[[], object]]:
    x, wide = torch.zeros(4, 4096, dtype=HALF), torch.zeros(4, 2 * 14336, dtype=HALF)
    norm, nf4 = GpuNorm(x[0], 1e-5), Nf4Linear.of(torch.zeros(64, 4096, dtype=HALF), None)
    step = random_step([Row(1, 3)], HEADS, HALF, torch.device("cpu"))
    parts = torch.zeros(2, 4, 32, 128, dtype=HALF)
    return {
        "decode": lambda: attention([Row(1, 9)] * 2, device_programs=1),
        "decode, split": lambda: attention([Row(1, 300)] * 2, device_programs=64),
        "verify": lambda: attention([Row(6, 300)] * 2, device_programs=64),
        "prefill": lambda: attention([Row(70, 9)], device_programs=1),
        "verify, on a shard": lambda: attention([Row(6, 300)] * 2, device_programs=64, shard=Part(1, 2)),
        "prefill, on a shard": lambda: attention([Row(70, 9)], device_programs=1, shard=Part(1, 2)),
        "decode, in a window": lambda: attention([Row(1, 300)] * 2, device_programs=64, window=128),
        "merge": lambda: merge(parts, torch.zeros(2, 4, 32)),
        "rope": lambda: rotate_and_write(step.qkv, step.rotation, step.layout.slots, step.kv, HEADS),
        "norm": lambda: norm(x),
        "norm, fp8": lambda: norm.quantised(x),
        "sum and norm, fp8": lambda: norm.quantised_sum(x, x),
        "swiglu": lambda: swiglu(wide),
        "swiglu, fp8": lambda: quantised_swiglu(wide),
        "fp8": lambda: quantise(x),
        "nf4": lambda: nf4(x, residual=x[:, :64]),
        "draw": lambda: TritonDraw()(torch.zeros(1, 128256), [DrawRow(NoiseKey(0, 0), 1.0)], None),
        "draw, filtered": lambda: TritonDraw()(torch.zeros(1, 128256), [DrawRow(NoiseKey(0, 0), 1.0)], torch.zeros(1)),
        "nf4, unpacked": lambda: nf4.weight.dense(HALF),
        "int8 KV": lambda: layer("int8"),
        "fp8 KV": lambda: layer("fp8"),
        "int4 KV": lambda: layer("int4"),
    }


def layer(kv_format: KVFormat) -> None:
    """A short row, which is split, and a long one, on one of two shards."""
    step = format_step([Row(6, 300), Row(70, 9)], HEADS, kv_format, HALF, torch.device("cpu"), Part(1, 2))
    PagedAttention(HEADS).prepare_shard(step.layout)(step.qkv, step.rotation, step.kv)


def attention(rows: list[Row], device_programs: int, shard: Part = UNSHARDED, window: int | None = None) -> None:
    step = random_step(rows, HEADS, HALF, torch.device("cpu")).on(shard)
    queries = torch.zeros(len(step.qkv), HEADS.num_heads, HEADS.head_dim, dtype=HALF)
    options = AttentionOptions(window, device_programs=device_programs)
    attend(queries, step.kv, AttentionMetadata.of(step.layout), options)


if __name__ == "__main__":
    main()
