"""Single kernels at the sizes of a 70B model: how near to the copy bandwidth they read."""

import importlib.util
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

import torch
from torch import Tensor

from llama4coder.attention.batch import HeadLayout
from llama4coder.config import KVFormat
from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.layers.kernels import Kernels
from llama4coder.models.random_weights import SHAPES
from llama4coder.models.weights import Placement
from llama4coder.parallel.plan import RankPlan
from llama4coder.shape import ModelShape
from tests.bench.gpu_report import Report, device_seconds, tensor_bytes
from tests.bench.gpu_subject import block_bytes, random_kv
from tests.support.steps import Row, random_step

_POINT_S = 8.0  # more than making the random inputs and measuring takes
_ROTATED_BYTES = 2**28  # more than any cache holds
_CALLS = 16  # per measurement, in one graph where there are graphs


def measure_linears(
    shape: ModelShape,
    formats: Mapping[str, Kernels],
    placement: Placement,
    copy_bytes_per_s: float,
    report: Report,
) -> None:
    """Products of 1 to 16 tokens with a layer's matrices; bitsandbytes' NF4 beside ours where it is installed."""
    makers: dict[str, Callable[[Tensor], Callable[[Tensor], Tensor]]] = {
        name: kernels.linear for name, kernels in formats.items()
    }
    if placement.device.type == "cuda" and importlib.util.find_spec("bitsandbytes"):
        makers["bitsandbytes nf4"] = _bitsandbytes
    for matrix, size in zip(("qkv", "out", "gate_up", "down"), shape.layer_matrices, strict=True):
        weight = 0.02 * torch.randn(size.out_features, size.in_features, device=placement.device, dtype=placement.dtype)
        for name, make in makers.items():
            if not report.allows(_POINT_S):
                return report.skip(f"{name} {matrix}")
            one = make(weight)
            num_bytes = tensor_bytes(one) or weight.nbytes * 9 // 32
            linears = [one] + [make(weight) for _ in range(min(_CALLS, _ROTATED_BYTES // num_bytes))]
            for num_tokens in (1, 4, 8, 16):
                x = torch.randn(num_tokens, size.in_features, device=placement.device, dtype=placement.dtype)
                call_s = _seconds_per_call([_calling(linear, x) for linear in linears], placement.device)
                report.add(
                    "linear",
                    format=name,
                    matrix=matrix,
                    tokens=num_tokens,
                    call_us=1e6 * call_s,
                    gb_per_s=num_bytes / call_s / 1e9,
                    of_copy_percent=100 * num_bytes / call_s / copy_bytes_per_s,
                )


def measure_attention(
    formats: Mapping[KVFormat, Kernels],
    heads: HeadLayout,
    steps: Sequence[Sequence[Row]],
    placement: Placement,
    copy_bytes_per_s: float,
    report: Report,
) -> None:
    """Rotation, KV write and attention of one layer, by the bytes of keys and values that it reads."""
    for rows, (kv_format, kernels) in itertools.product(steps, formats.items()):
        if not report.allows(_POINT_S):
            return report.skip(f"attention of {len(rows)} rows to {kv_format} KV")
        step = random_step(list(rows), heads, placement.dtype, placement.device)
        (kv,) = random_kv(_one_layer(heads), len(step.kv.keys), placement, kv_format, len(rows))
        attention = kernels.attention(heads).prepare(step.layout)
        call_s = _seconds_per_call(
            [lambda attention=attention, step=step, kv=kv: attention(step.qkv, step.rotation, kv)], placement.device
        )
        num_bytes = sum(row.length for row in rows) * block_bytes(kv) // BLOCK_SIZE
        report.add(
            "attention",
            kv_format=kv_format,
            batch=len(rows),
            context=rows[0].length,
            tokens=rows[0].num_tokens,
            call_us=1e6 * call_s,
            gb_per_s=num_bytes / call_s / 1e9,
            of_copy_percent=100 * num_bytes / call_s / copy_bytes_per_s,
        )


def _one_layer(heads: HeadLayout) -> RankPlan:
    sizes = asdict(heads)
    return RankPlan.alone(replace(SHAPES["8b"], num_layers=1, **sizes))


def _calling(linear: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], Tensor]:
    return lambda: linear(x)


def _seconds_per_call(calls: list[Callable[[], Tensor]], device: torch.device) -> float:
    """Over several calls in turn, so that no weight is in a cache; as a graph, so that no launch is waited for."""

    def run() -> None:
        for index in range(_CALLS):
            calls[index % len(calls)]()

    with torch.inference_mode():
        if device.type != "cuda":
            return device_seconds(run, device) / _CALLS
        from llama4coder.gpu.graphs import CudaRecorder

        return device_seconds(CudaRecorder()(run), device) / _CALLS


def _bitsandbytes(weight: Tensor) -> Callable[[Tensor], Tensor]:
    import bitsandbytes as bnb

    packed, state = bnb.functional.quantize_4bit(weight, quant_type="nf4")
    return lambda x: bnb.matmul_4bit(x, packed.t(), quant_state=state)
