"""Where a decoding step's time goes on a GPU: `python -m tests.bench.gpu_profile --shape 8b --quant bf16 --batch 1`.

Prints each kernel's time per step, and how much of the step the device was busy. Needs what `tests/bench/gpu.py` needs.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile

from llama4coder.gpu.graph_sizes import GraphSizes
from llama4coder.models.random_weights import SHAPES
from llama4coder.models.weights import Placement
from tests.bench.gpu import QUANTS, kernels_for
from tests.bench.gpu_subject import Batch, Lane, Room, Subject, build_subject, decode_step_s
from tests.bench.measure import markdown_table

_NUM_STEPS = 16
_NAME_LENGTH = 60


@dataclass(frozen=True, slots=True)
class KernelTime:
    """One kernel's part of a step."""

    name: str
    calls: float
    time_us: float


def kernel_times(subject: Subject, lane: Lane, batch: Batch) -> list[KernelTime]:
    """Of one step of decoding, the longest first; it includes what the host's copies take on the device."""
    decode_step_s(subject, lane, batch, _NUM_STEPS)  # compiles
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        decode_step_s(subject, lane, batch, _NUM_STEPS)
    num_steps = _NUM_STEPS + 3  # which warm up, and are recorded as well
    times = (
        KernelTime(event.key, event.count / num_steps, event.self_device_time_total / num_steps)
        for event in recorded.key_averages()
        if event.self_device_time_total > 0
    )
    return sorted(times, key=lambda one: -one.time_us)


def _rows(times: Sequence[KernelTime], step_us: float, num_shown: int) -> Iterator[list[str]]:
    for one in times[:num_shown]:
        yield [
            one.name[:_NAME_LENGTH],
            f"{one.calls:.1f}",
            f"{one.time_us:.1f}",
            f"{one.time_us / max(one.calls, 1e-9):.2f}",
            f"{100 * one.time_us / step_us:.1f}",
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=tuple(SHAPES), default="8b")
    parser.add_argument("--quant", choices=QUANTS, default="bf16")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--shown", type=int, default=20, help="kernels")
    args = parser.parse_args()

    device = torch.device("cuda")
    placement = Placement(torch.bfloat16, device)
    room = Room(max(args.batch), args.context)
    subject = build_subject(args.shape, SHAPES[args.shape], kernels_for(args.quant, device), placement, room)
    subject.add_lanes(GraphSizes(tuple(sorted(args.batch)), (1,)))
    for num_rows in args.batch:
        lane, batch = subject.lanes["graph"], Batch(num_rows, args.context)
        step_us = 1e6 * decode_step_s(subject, lane, batch, _NUM_STEPS)
        times = kernel_times(subject, lane, batch)
        busy_us = sum(one.time_us for one in times)
        print(f"\n{args.shape} {args.quant}, batch {num_rows}: {step_us:.0f} us a step, kernels {busy_us:.0f} us")
        print(markdown_table(("kernel", "calls", "us", "us a call", "%"), list(_rows(times, step_us, args.shown))))


if __name__ == "__main__":
    main()
