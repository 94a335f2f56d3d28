"""What fast accumulation of FP8 products costs and gains on a GPU: `python -m tests.bench.gpu_fp8`.

Row-wise products by `torch._scaled_mm`: the error against float64 on the very same FP8 numbers, and the time, for
matrices of an 8B and a 70B. Needs what `tests/bench/gpu.py` needs.
"""

from dataclasses import replace

import torch
from torch import Tensor

from llama4coder.gpu.fp8 import Fp8Linear, QuantisedTokens, quantise
from llama4coder.gpu.graphs import CudaRecorder
from tests.bench.gpu_report import device_seconds

_MATRICES = ((6144, 4096), (28672, 4096), (4096, 14336), (57344, 8192), (8192, 28672))
_TOKENS = (1, 8, 64, 4096)
_CHECKED = 64  # tokens
_CALLS = 8  # in one graph
_ROTATED_BYTES = 2**28  # more than any cache holds


def product(x: QuantisedTokens, linear: Fp8Linear, *, fast: bool) -> Tensor:
    """In bfloat16."""
    out: Tensor = torch._scaled_mm(
        x.values,
        linear.weight.t(),
        scale_a=x.scales,
        scale_b=linear.scales,
        out_dtype=torch.bfloat16,
        use_fast_accum=fast,
    )
    return out


def in_float64(x: QuantisedTokens, linear: Fp8Linear) -> Tensor:
    """The first tokens' exact result."""
    values, scales = x.values[:_CHECKED].double(), x.scales[:_CHECKED].double()
    return (values @ linear.weight.double().T) * scales * linear.scales.double()


def measured(x: QuantisedTokens, linears: list[Fp8Linear], exact: Tensor, *, fast: bool) -> str:
    """One way's error, time and speed."""
    error = float((product(x, linears[0], fast=fast)[:_CHECKED].double() - exact).norm() / exact.norm())

    def run() -> None:
        for index in range(_CALLS):
            product(x, linears[index % len(linears)], fast=fast)

    with torch.inference_mode():
        call_s = device_seconds(CudaRecorder()(run), exact.device) / _CALLS
    size = linears[0].weight.numel()
    name, tflops = ("fast" if fast else "exact"), 2 * len(x.values) * size / call_s / 1e12
    return f"{name}: error {error:.1e}, {1e6 * call_s:.1f} us, {size / call_s / 1e9:.0f} GB/s, {tflops:.0f} TFLOP/s"


def main() -> None:
    device = torch.device("cuda")
    torch.manual_seed(0)
    for out_features, in_features in _MATRICES:
        linear = Fp8Linear.of(0.02 * torch.randn(out_features, in_features, device=device).bfloat16(), None)
        num_copies = max(1, min(_CALLS, _ROTATED_BYTES // linear.weight.numel()))
        linears = [replace(linear, weight=linear.weight.clone()) for _ in range(num_copies)]
        for num_tokens in _TOKENS:
            x = quantise(torch.randn(num_tokens, in_features, device=device).bfloat16())
            exact = in_float64(x, linear)
            both = " | ".join(measured(x, linears, exact, fast=fast) for fast in (True, False))
            print(f"{out_features} x {in_features}, {num_tokens} tokens | {both}")


if __name__ == "__main__":
    main()
