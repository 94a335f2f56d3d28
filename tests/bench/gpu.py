"""How near to its floors the engine runs on a GPU: `python -m tests.bench.gpu --shape 8b --quant bf16`.

Needs torch, triton, numpy, safetensors and pydantic (with pydantic-core, annotated-types and typing-inspection), and
no more of what the product depends on; transformers (a peer for 8b in bf16) and bitsandbytes if they are there. No Ray,
no network, no checkpoint: weights are random and made on the device. Correctness comes first, and a wrong result ends
the run. It ends within `--budget-s` whatever happens, printing as it goes and, with `--out`, writing JSON lines.
`--device cpu --shape tiny` runs every part on a CPU, to test the benchmark itself.
"""

import argparse
import faulthandler
import gc
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import torch

from llama4coder.attention.batch import HeadLayout
from llama4coder.config import KVFormat
from llama4coder.gpu.graph_sizes import GraphSizes
from llama4coder.layers.kernels import Kernels, TorchKernels
from llama4coder.models.random_weights import SHAPES
from llama4coder.models.weights import Placement
from tests.bench.gpu_checks import check_attention, check_draw, check_format, check_graphs, check_model
from tests.bench.gpu_kernels import measure_attention, measure_linears
from tests.bench.gpu_peer import measure_transformers
from tests.bench.gpu_report import Report, copy_bytes_per_s, matmul_flops
from tests.bench.gpu_steps import measure_decode, measure_prefill, measure_verify
from tests.bench.gpu_subject import Batch, Candidate, Room, build_subject
from tests.support.steps import Row

if TYPE_CHECKING:
    from llama4coder.gpu.kernels import GpuQuant

TINY_SHAPE = replace(
    SHAPES["1b"],
    vocab_size=512,
    hidden_size=64,
    intermediate_size=128,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    max_position=512,
)
QUANTS = ("bf16", "fp8", "nf4")
# Of a model's logits. Fused layers round activations to FP8 that the others round to bfloat16 before: in one of 30
# numbers that decides, and random weights make the most of it.
_TOLERANCES = {"bf16": 0.03, "fp8": 0.2, "nf4": 0.03}
_GRACE_S = 20.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is measured; a tiny model on a CPU gets a tiny list."""

    decode: tuple[Batch, ...]
    verify: tuple[Batch, ...]
    prefill: tuple[int, ...]
    peer: tuple[Batch, ...]
    attention: tuple[tuple[Row, ...], ...]
    max_rows: int
    max_context: int

    @property
    def graphs(self) -> GraphSizes:
        rows = {batch.num_rows for batch in (*self.decode, *self.verify)} | {4}  # 4: what the checks pad to
        tokens = {1, 4} | {batch.tokens_per_row for batch in self.verify}
        return GraphSizes(tuple(sorted(rows)), tuple(sorted(tokens)))


TINY = Sizes(
    decode=(Batch(1, 128), Batch(2, 256)),
    verify=(Batch(2, 128, 4),),
    prefill=(64,),
    peer=(Batch(1, 64),),
    attention=((Row(1, 99),),),
    max_rows=4,
    max_context=512,
)


def full_sizes(max_context: int, quick: bool) -> Sizes:
    """Most telling first, so that a run that is cut short has them."""
    batches = (1, 8, 64) if quick else (1, 2, 4, 8, 16, 32, 64, 128, 256)
    decode = [Batch(rows, 2048) for rows in batches]
    drafts = (3,) if quick else (1, 3, 5, 7)
    verify = [Batch(rows, 2048, k + 1) for k in drafts for rows in ((1, 8) if quick else (1, 8, 32))]
    if not quick:
        decode += [Batch(1, 1024), Batch(1, 8192), Batch(8, 8192), Batch(64, 8192)]
        decode += [Batch(1, 32768), Batch(8, 32768), Batch(1, 131072), Batch(8, 131072)]
    rows = ((1, 8192), (8, 8192), (64, 2048)) if quick else ((1, 2048), (1, 131072), (8, 8192), (64, 2048))
    attention = [tuple(Row(1, context - 1) for _ in range(num_rows)) for num_rows, context in rows]
    return Sizes(
        decode=tuple(batch for batch in decode if batch.context <= max_context),
        verify=tuple(verify),
        prefill=(1024, 8192) if quick else (1024, 8192, 32768),
        peer=(Batch(1, 2048),) if quick else (Batch(1, 2048), Batch(8, 2048), Batch(64, 2048)),
        attention=tuple(rows for rows in attention if rows[0].length <= max_context),
        max_rows=max(batches),
        max_context=max_context,
    )


def kernels_for(quant: str, device: torch.device, kv_format: KVFormat = "dense") -> Kernels:
    """The product's own for this device; a CPU measures nothing but that the benchmark works."""
    if device.type == "cpu":
        return TorchKernels(kv_format)
    from llama4coder.gpu.kernels import GpuKernels

    return GpuKernels(_gpu_quant(quant), kv_format)


def exact_kernels_for(quant: str, device: torch.device, kv_format: KVFormat) -> Kernels:
    """Torch's on the same weights, rounded if they are."""
    if device.type == "cpu" or quant == "bf16":
        return TorchKernels(kv_format)
    from tests.bench.gpu_reference import RoundedKernels

    return RoundedKernels(_gpu_quant(quant), kv_format)


def _gpu_quant(quant: str) -> "GpuQuant":
    from llama4coder.gpu.kernels import GpuQuant

    return {"bf16": GpuQuant.NONE, "fp8": GpuQuant.FP8, "nf4": GpuQuant.NF4}[quant]


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What this device reaches at the two things that models are made of."""

    copy_bytes_per_s: float
    matmul_flops: float


def run(args: argparse.Namespace, report: Report) -> None:
    """Ceilings, then correctness, then the model, then single kernels, then the peer."""
    device = torch.device(args.device)
    tiny = args.shape == "tiny"
    shape = TINY_SHAPE if tiny else SHAPES[args.shape]
    sizes = TINY if tiny else full_sizes(args.max_context, args.quick)
    placement = Placement(torch.float32 if device.type == "cpu" else torch.bfloat16, device)
    kernels = kernels_for(args.quant, device, args.kv_format)
    exact_kernels = exact_kernels_for(args.quant, device, args.kv_format)
    candidate = Candidate(f"{args.shape} {args.quant}", shape, kernels, exact_kernels, placement, args.kv_format)
    heads = HeadLayout(shape.num_heads, shape.num_kv_heads, shape.head_dim)

    ceilings = Ceilings(copy_bytes_per_s(device), matmul_flops(placement.dtype, device))
    report.add("ceilings", copy_gb_per_s=ceilings.copy_bytes_per_s / 1e9, matmul_tflops=ceilings.matmul_flops / 1e12)
    check_attention(kernels_for(args.quant, device), heads, placement, report)
    by_format = {kv_format: kernels_for(args.quant, device, kv_format) for kv_format in _formats(args)}
    for kv_format, kernels_of_it in by_format.items():
        check_format(kernels_of_it, kv_format, heads, placement, report)
    check_model(candidate, _TOLERANCES[args.quant], report)
    measure_model(candidate, sizes, ceilings, report)
    _free()
    measure_attention(by_format, heads, sizes.attention, placement, ceilings.copy_bytes_per_s, report)
    if not args.quick:
        names = ("bf16",) if device.type == "cpu" else QUANTS
        formats = {name: kernels_for(name, device) for name in names}
        measure_linears(shape if tiny else SHAPES["70b"], formats, placement, ceilings.copy_bytes_per_s, report)
    _free()
    if args.quant == "bf16" and args.shape != "70b":
        measure_transformers(shape, sizes.peer, placement, report)


def measure_model(candidate: Candidate, sizes: Sizes, ceilings: Ceilings, report: Report) -> None:
    """Build it, check its draws and graphs, measure it; its memory is free afterwards."""
    start_s = time.monotonic()
    room = Room(sizes.max_rows, sizes.max_context, candidate.kv_format)
    subject = build_subject(candidate.name, candidate.shape, candidate.kernels, candidate.placement, room)
    built_s = time.monotonic()
    subject.add_lanes(sizes.graphs)
    report.add(
        "model",
        name=candidate.name,
        weights_gb=subject.weight_bytes / 1e9,
        kv_blocks=subject.num_blocks,
        build_s=built_s - start_s,
        graphs_s=time.monotonic() - built_s,
    )
    check_draw(subject, report)
    check_graphs(subject, report)
    measure_decode(subject, sizes.decode, ceilings.copy_bytes_per_s, report)
    measure_verify(subject, sizes.verify, ceilings.copy_bytes_per_s, report)
    measure_prefill(subject, sizes.prefill, ceilings.matmul_flops, report)


def _formats(args: argparse.Namespace) -> tuple[KVFormat, ...]:
    """Whose attention is checked and measured by itself: all of them, if there is time."""
    return (args.kv_format,) if args.quick else get_args(KVFormat)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--shape", choices=("tiny", *SHAPES), default="8b")
    parser.add_argument("--quant", choices=QUANTS, default="bf16")
    parser.add_argument("--kv-format", choices=get_args(KVFormat), default="dense", help="of the model's KV")
    parser.add_argument("--max-context", type=int, default=131072)
    parser.add_argument("--quick", action="store_true", help="the few most telling points")
    parser.add_argument("--budget-s", type=float, default=450.0)
    parser.add_argument("--out", type=Path, help="JSON lines")
    return parser.parse_args(argv)


def main() -> None:
    args = parse()
    faulthandler.dump_traceback_later(args.budget_s + _GRACE_S, exit=True)
    report = Report(args.out, args.budget_s)
    gpu = torch.cuda.get_device_name() if args.device == "cuda" else platform.processor()
    report.say(f"{gpu}, torch {torch.__version__}, {args.shape} {args.quant}, budget {args.budget_s:g} s")
    run(args, report)
    report.say("done")


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
