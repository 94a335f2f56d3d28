"""The parts of a step, each run alone over all layers."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from llama4coder.engine.plan import StepPlan
from llama4coder.engine.step_batch import build_batch
from llama4coder.models.llama import DecoderLayer, Layer
from llama4coder.native.layer import FusedLayer
from llama4coder.sampling.draw import DrawRow
from llama4coder.sampling.noise import NoiseKey
from tests.bench.gpu_subject import Batch, Subject


def parts_of(subject: Subject, batch: Batch) -> Mapping[str, Callable[[], object]]:
    """Products and attention, and head and draw of every token."""
    lane = subject.eager_lane()
    plan = StepPlan(0, (), (), tuple(subject.start(lane, batch, batch.context)))
    lane.state.apply(plan)
    step = build_batch(plan, lane.state)
    attention, rotation = subject.model.attention.prepare(step.layout), subject.model.rope.at(step.positions)
    layers = [_parts(layer) for layer in subject.model.layers]
    hidden = torch.randn(batch.tokens_per_row, subject.shape.hidden_size).to(subject.placement.dtype)
    qkv, gated = layers[0].qkv(hidden), layers[0].swiglu(layers[0].gate_up(hidden))
    attended = attention(qkv, rotation, subject.kv[0])
    logits = subject.model.logits(hidden)
    draws = [DrawRow(NoiseKey(1, position), 1.0) for position in range(batch.tokens_per_row)]

    def products() -> None:
        for layer in layers:
            for linear, x in _products(layer, hidden, attended, gated):
                linear(x)

    return {
        "products": products,
        "attention": lambda: [attention(qkv, rotation, kv) for kv in subject.kv],
        "head": lambda: subject.model.logits(hidden),
        "draw": lambda: lane.sampler.draw(logits, draws, None),
    }


def _products(
    layer: DecoderLayer, hidden: Tensor, attended: Tensor, gated: Tensor
) -> tuple[tuple[Callable[[Tensor], Tensor], Tensor], ...]:
    return (layer.qkv, hidden), (layer.attention_out, attended), (layer.gate_up, hidden), (layer.down, gated)


def _parts(layer: Layer) -> DecoderLayer:
    whole = layer.parts if isinstance(layer, FusedLayer) else layer
    assert isinstance(whole, DecoderLayer)
    return whole
