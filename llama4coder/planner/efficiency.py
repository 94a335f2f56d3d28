"""Which share of its data sheet a GPU reaches in the steps of an engine, and what does not shrink with the work."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from llama4coder.config import KVFormat, QuantFormat

_US = 1e-6


def _by_format(**shares: float) -> Mapping[str, float]:
    return MappingProxyType(shares)


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Shares are of the data sheet's rates; times are seconds per kernel unless they say otherwise."""

    source: str  # where the figures come from
    weight_bandwidth: Mapping[str, float] = field(
        default_factory=lambda: _by_format(none=0.86, fp8=0.85, nf4=0.46, int8=0.8, int4=0.5)
    )
    product_flops: Mapping[str, float] = field(
        default_factory=lambda: _by_format(none=0.62, fp8=0.55, nf4=0.5, int8=0.5, int4=0.5)
    )
    product_s: float = 3 * _US  # of each product, besides its weights
    kv_bandwidth: Mapping[str, float] = field(
        default_factory=lambda: _by_format(dense=0.78, fp8=0.55, int8=0.5, int4=0.4)
    )
    attention_s: float = 10 * _US  # of each layer's attention to cached tokens, its merge included
    pair_flops: float = 0.45  # of bfloat16's, in attention within prompts
    small_s: float = 11 * _US  # of each layer's norms, rotation, writing of keys and values, activation
    small_bandwidth: float = 0.7  # at which these read and write each token's features
    launch_s: float = 4 * _US  # of each kernel, where no graph is there for a step
    collective_s: float = 4.5 * _US  # of an all-reduce within a node, besides its bytes
    network_s: float = 25 * _US  # of an all-reduce between nodes
    link_share: float = 0.3
    host_s: float = 300 * _US  # of each step: what of scheduling is not hidden behind it
    multiplies_fp4: bool = False  # nf4 stands for NVFP4, which has as many bytes, and GPUs' FP4 products are used

    def weights(self, quant: QuantFormat) -> float:
        """Share of the bandwidth in products of few tokens."""
        return self.weight_bandwidth[quant]

    def products(self, quant: QuantFormat) -> float:
        """Share of the product rate in products of many tokens."""
        return self.product_flops[quant]

    def kv(self, kv_format: KVFormat) -> float:
        """Share of the bandwidth in attention to many cached tokens."""
        return self.kv_bandwidth[kv_format]


MEASURED = Efficiency(
    "one H200: tests/bench/RESULTS.md, section GPU (bfloat16, NF4 and FP8 products, 8B decode and prefill); "
    "collectives as published for H200 with NCCL 2.29 and a one-shot all-reduce; other GPUs are taken to reach the "
    "same shares"
)

OTHER_ENGINES = Efficiency(
    "other engines (TensorRT-LLM, vLLM): KV from vLLM's published slopes on an H100, products and all-reduces as large "
    "ones of cuBLAS and NCCL are known to reach, FP4 products from AIConfigurator's operator tables of a B200 with "
    "TensorRT-LLM 1.3, scheduling hidden; the rest as measured here",
    weight_bandwidth=_by_format(none=0.86, fp8=0.85, nf4=0.48),
    product_flops=_by_format(none=0.7, fp8=0.65, nf4=0.45),
    kv_bandwidth=_by_format(dense=0.89, fp8=0.82),
    pair_flops=0.6,
    link_share=0.7,
    host_s=100 * _US,
    multiplies_fp4=True,
)

UNFUSED_ENGINES = replace(
    OTHER_ENGINES,
    source=f"{OTHER_ENGINES.source}; engines that quantise what goes into a product in a kernel of its own, as "
    "TensorRT-LLM's with PyTorch: 12 us for each product in FP4 and 16 us in FP8 are what the same tables have beside "
    "the time of its weights",
    product_s=14 * _US,
)
