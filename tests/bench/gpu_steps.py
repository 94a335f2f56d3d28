"""Decoding, verification and prefill of a whole model, each beside its floor."""

from collections.abc import Callable, Sequence

import torch

from llama4coder.engine.plan import StepPlan, StepRow
from llama4coder.sampling.draw import DrawRow
from llama4coder.sampling.noise import NoiseKey
from llama4coder.shape import ModelShape
from tests.bench.gpu_report import Report, device_seconds
from tests.bench.gpu_subject import Batch, Lane, Subject, decode_step_s

_POINT_S = 5.0  # more than one measurement takes


def measure_decode(subject: Subject, batches: Sequence[Batch], copy_bytes_per_s: float, report: Report) -> None:
    """Time per token with sampling, host and all; the floor reads every weight and the batch's KV once."""
    for batch in batches:
        if not subject.fits(batch):
            continue
        if not report.allows(_POINT_S):
            return report.skip(f"decode of {batch}")
        floor_s = (subject.weight_bytes + subject.kv_bytes(batch)) / copy_bytes_per_s
        num_steps = max(8, min(32, int(0.5 / floor_s), batch.context // 4))
        for path, lane in subject.lanes.items():
            step_s = decode_step_s(subject, lane, batch, num_steps)
            report.add(
                "decode",
                model=subject.name,
                path=path,
                batch=batch.num_rows,
                context=batch.context,
                step_ms=1e3 * step_s,
                tokens_per_s=batch.num_rows / step_s,
                floor_ms=1e3 * floor_s,
                of_floor_percent=100 * floor_s / step_s,
            )


def measure_verify(subject: Subject, batches: Sequence[Batch], copy_bytes_per_s: float, report: Report) -> None:
    """One forward pass over k + 1 tokens per row, and a draw at each of them."""
    for batch in batches:
        if not subject.fits(batch):
            continue
        if not report.allows(_POINT_S):
            return report.skip(f"verification of {batch}")
        floor_s = (subject.weight_bytes + subject.kv_bytes(batch)) / copy_bytes_per_s
        for path, lane in subject.lanes.items():
            step_s = device_seconds(verification(subject, lane, batch), subject.placement.device)
            report.add(
                "verify",
                model=subject.name,
                path=path,
                batch=batch.num_rows,
                drafts=batch.tokens_per_row - 1,
                context=batch.context,
                step_ms=1e3 * step_s,
                floor_ms=1e3 * floor_s,
                of_floor_percent=100 * floor_s / step_s,
            )


def measure_prefill(subject: Subject, lengths: Sequence[int], peak_flops: float, report: Report) -> None:
    """One prompt in one step; operations of the matrices and of causal attention over the measured dense peak."""
    lane = subject.lanes["eager"]
    for length in lengths:
        batch = Batch(1, length, tokens_per_row=length)
        if not subject.fits(batch):
            continue
        if not report.allows(_POINT_S + 6 * prefill_flops(subject.shape, length) / peak_flops):
            return report.skip(f"prefill of {length} tokens")
        (row,) = subject.start(lane, batch, length)
        step_s = device_seconds(ForwardAgain(lane, [row], wanted=[length - 1]), subject.placement.device)
        flops = prefill_flops(subject.shape, length)
        report.add(
            "prefill",
            model=subject.name,
            tokens=length,
            step_ms=1e3 * step_s,
            tokens_per_s=length / step_s,
            tflops=flops / step_s / 1e12,
            of_peak_percent=100 * flops / step_s / peak_flops,
        )


def prefill_flops(shape: ModelShape, length: int) -> float:
    """Two per weight and token (the head once), and causal attention's two products."""
    head = shape.vocab_size * shape.hidden_size
    embeddings = head * (1 if shape.tied_embeddings else 2)
    layers = 2.0 * (shape.num_parameters - embeddings) * length
    attention = 2.0 * length**2 * shape.num_heads * shape.head_dim * shape.num_layers
    return layers + attention + 2.0 * head


def verification(subject: Subject, lane: Lane, batch: Batch) -> Callable[[], object]:
    """A step with logits for every token and a draw at each of them, which may be run again and again."""
    rows = subject.start(lane, batch, batch.context)
    num_tokens = batch.num_rows * batch.tokens_per_row
    draws = [DrawRow(NoiseKey(1, position), 1.0) for position in range(num_tokens)]
    forward = ForwardAgain(lane, rows, wanted=list(range(num_tokens)))
    draw = lane.sampler.draw
    return lambda: draw(forward(), draws, None)


class ForwardAgain:
    """The forward pass of rows that change nothing by being run again; their blocks are announced the first time."""

    def __init__(self, lane: Lane, rows: list[StepRow], wanted: list[int]) -> None:
        self._lane = lane
        self._wanted = wanted
        first = StepPlan(0, (), (), tuple(rows))
        with torch.inference_mode():
            lane.state.apply(first)
            lane.forward(first, wanted)
        again = (StepRow(row.seq_id, row.start, row.num_tokens, (), row.samples) for row in rows)
        self._plan = StepPlan(0, (), (), tuple(again))

    def __call__(self) -> torch.Tensor:
        with torch.inference_mode():
            return self._lane.forward(self._plan, self._wanted)
