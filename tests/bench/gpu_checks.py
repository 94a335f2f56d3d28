"""What must be right before anything is measured: every fast path against its reference."""

from dataclasses import replace

import torch
from torch import Tensor

from llama4coder.attention.batch import HeadLayout
from llama4coder.attention.by_format import torch_attention
from llama4coder.attention.torch_backend import TorchAttention
from llama4coder.config import KVFormat
from llama4coder.layers.kernels import Kernels
from llama4coder.models.weights import Placement
from llama4coder.sampling.draw import DrawRow, TorchDraw
from llama4coder.sampling.noise import NoiseKey
from tests.bench.gpu_report import Report
from tests.bench.gpu_steps import ForwardAgain
from tests.bench.gpu_subject import Batch, Candidate, Room, Subject, build_subject, kept
from tests.support.format_steps import format_step
from tests.support.steps import Row, random_step

_STEPS = {
    "decode": [Row(1, start) for start in (0, 15, 16, 999, 4095)],
    "verify": [Row(4, start) for start in (0, 300, 2047)],
    "mixed": [Row(1, 700), Row(300, 0), Row(5, 64), Row(70, 129)],
}


_NEAR_TIES = 1  # rows: two tokens may be so close that the rounding of a logarithm decides


class WrongResult(AssertionError):
    """A fast path computes something else than its reference."""


def check_attention(kernels: Kernels, heads: HeadLayout, placement: Placement, report: Report) -> None:
    """Rows of every kind, over scattered blocks."""
    for name, rows in _STEPS.items():
        step = random_step(rows, heads, placement.dtype, placement.device)
        exact = step.exact()
        expected = TorchAttention(heads).prepare(exact.layout)(exact.qkv, exact.rotation, exact.kv)
        actual = kernels.attention(heads).prepare(step.layout)(step.qkv, step.rotation, step.kv)
        _compare(f"attention, {name}", actual, expected, 0.01, report)


def check_format(
    kernels: Kernels, kv_format: KVFormat, heads: HeadLayout, placement: Placement, report: Report
) -> None:
    """The same over KV of another format, which torch compresses by the same rules."""
    for name, rows in _STEPS.items():
        ours, theirs = (format_step(rows, heads, kv_format, placement.dtype, placement.device) for _ in range(2))
        expected = torch_attention(heads, kv_format).prepare(theirs.layout)(theirs.qkv, theirs.rotation, theirs.kv)
        actual = kernels.attention(heads).prepare(ours.layout)(ours.qkv, ours.rotation, ours.kv)
        _compare(f"attention to {kv_format}, {name}", actual, expected.float().cpu(), 0.01, report)


def check_draw(subject: Subject, report: Report) -> None:
    """Greedy and random rows: the very same tokens."""
    logits = 4 * torch.randn(64, subject.shape.vocab_size, generator=torch.Generator().manual_seed(0))
    rows = [DrawRow(NoiseKey(seed * 2**40 + 7, seed), 0.0 if seed % 8 == 0 else 0.9) for seed in range(64)]
    expected = TorchDraw()(logits, rows, None).token_ids
    draw = next(iter(subject.lanes.values())).sampler.draw
    actual = draw(logits.to(subject.placement.device), rows, None).token_ids.cpu()
    different = int((actual != expected).sum())
    report.add("check", what="draw", different_rows=different, of=len(rows))
    if different > _NEAR_TIES:
        raise WrongResult(f"{different} of {len(rows)} tokens are not those that torch draws")


def check_graphs(subject: Subject, report: Report) -> None:
    """Replayed logits equal eager ones; the batches pad, and the second replay must not see the first."""
    if "graph" not in subject.lanes:
        report.say("no graphs on this device")
        return
    for batch in (Batch(3, 200), Batch(1, 64), Batch(3, 333, tokens_per_row=4)):
        if subject.fits(batch):
            eager, graph = (_logits(subject, name, batch) for name in ("eager", "graph"))
            _compare(f"graph of {batch.num_rows} x {batch.tokens_per_row}", graph, eager.float().cpu(), 0.01, report)


def check_model(candidate: Candidate, tolerance: float, report: Report) -> None:
    """Two layers of the real widths against the exact kernels, on the same device."""
    shape, placement, room = candidate.shape, candidate.placement, Room(4, 512, candidate.kv_format)
    small = replace(shape, num_layers=min(2, shape.num_layers), vocab_size=min(4096, shape.vocab_size))
    fast = build_subject("fast", small, candidate.kernels, placement, room)
    exact = build_subject("exact", small, candidate.exact_kernels, placement, room)
    with torch.inference_mode():
        for ours, theirs in zip(fast.kv, exact.kv, strict=True):
            for part, source in zip(kept(theirs), kept(ours), strict=True):
                part.copy_(source)
    for subject in (fast, exact):
        subject.add_lanes(sizes=None)
    for batch in (Batch(3, 300), Batch(2, 400, tokens_per_row=4), Batch(1, 200, tokens_per_row=200)):
        actual, expected = (_logits(subject, "eager", batch) for subject in (fast, exact))
        _compare(f"model, {batch.num_rows} x {batch.tokens_per_row}", actual, expected.cpu(), tolerance, report)


def _logits(subject: Subject, lane_name: str, batch: Batch) -> Tensor:
    lane = subject.lanes[lane_name]
    rows = subject.start(lane, batch, batch.context)
    forward = ForwardAgain(lane, rows, list(range(batch.num_rows * batch.tokens_per_row)))
    return forward().clone()


def _compare(what: str, actual: Tensor, expected: Tensor, tolerance: float, report: Report) -> None:
    error = float((actual.float().cpu() - expected).norm() / expected.norm())
    report.add("check", what=what, relative_error=error)
    if not error < tolerance:
        raise WrongResult(f"{what}: relative error {error:.3g}, at most {tolerance:g} is rounding")
