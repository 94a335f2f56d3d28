"""Step times from a data sheet: each operation is as slow as its bytes or its products make it, whichever is slower.

Williams et al., "Roofline" (CACM 2009), per operation, with the shares of the peak that were measured; the fixed time
of each kernel is what keeps small models and small shards from scaling.
"""

from dataclasses import dataclass
from functools import cached_property

from llama4coder.config import QuantFormat
from llama4coder.gpu.graph_sizes import GraphSizes
from llama4coder.kv.sizing import BLOCK_SIZE, DTYPE_BYTES, HEAD_QUANT, kv_bytes_per_block, layer_matrices, matrix_bytes
from llama4coder.kv.step_sizing import ServedForm
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.parallel.plan import RankPlan
from llama4coder.planner.efficiency import MEASURED, Efficiency
from llama4coder.planner.gpus import GpuKind
from llama4coder.planner.step_load import StepLoad
from llama4coder.planner.step_time import StepPart, StepTime
from llama4coder.shape import MatrixShape, ModelShape

_KERNELS_PER_LAYER = 12  # that a step launches where no graph does
_REDUCTIONS_PER_LAYER = 2
_FLOAT_BYTES = 4
_HIDING_TOKENS = 512  # in whose kernels the host launches the next ones
_UNPACKED_TOKENS = 64  # from which a 4-bit matrix is unpacked whole, before a product in bfloat16


@dataclass(frozen=True)
class Roofline:
    """Implements `StepTimes` for one replica on GPUs of one kind; its slowest rank decides."""

    gpu: GpuKind
    shape: ModelShape
    layout: ParallelLayout
    form: ServedForm
    graphs: GraphSizes | None = None  # None: every kernel is launched by the host
    efficiency: Efficiency = MEASURED

    def step(self, load: StepLoad) -> StepTime:
        """See `StepTimes`."""
        if load.num_tokens == 0:
            return StepTime({})
        num_tokens = self._computed_tokens(load)
        return StepTime(
            {
                StepPart.WEIGHTS: self._weights_s(num_tokens, load.num_sampled),
                StepPart.ATTENTION: self._attention_s(load),
                StepPart.SMALL: self._small_s(num_tokens),
                StepPart.COLLECTIVES: self._collectives_s(num_tokens),
                StepPart.HOST: self.efficiency.host_s + self._launch_s(load),
            }
        )

    @cached_property
    def _plan(self) -> RankPlan:
        return RankPlan(self.shape, self.layout, 0)

    @cached_property
    def _matrices(self) -> tuple[MatrixShape, ...]:
        """Of one layer."""
        return layer_matrices(self._plan)

    @cached_property
    def _head(self) -> MatrixShape:
        vocabulary = self._plan.vocabulary
        return MatrixShape(vocabulary.stop - vocabulary.start, self.shape.hidden_size)

    @cached_property
    def _kv_token_bytes(self) -> float:
        return kv_bytes_per_block(self._plan, self.form.dtype, self.form.kv_format) / BLOCK_SIZE

    def _padded(self, load: StepLoad) -> int | None:
        if self.graphs is None or not load.is_decode_only:
            return None
        size = self.graphs.padded(load.num_decode_rows, -(-load.num_tokens // load.num_decode_rows))
        return None if size is None else size.num_tokens

    def _computed_tokens(self, load: StepLoad) -> int:
        """A graph computes all rows that it was recorded for."""
        return self._padded(load) or load.num_tokens

    def _weights_s(self, num_tokens: int, num_sampled: int) -> float:
        quant = self.form.quant
        layer_s = sum(self._product_s(matrix, quant, num_tokens) for matrix in self._matrices)
        return self.shape.num_layers * layer_s + self._product_s(self._head, HEAD_QUANT[quant], num_sampled)

    def _product_s(self, matrix: MatrixShape, quant: QuantFormat, num_tokens: int) -> float:
        gpu, efficiency = self.gpu, self.efficiency
        read_s = matrix_bytes(matrix, self.form.dtype, quant) / (gpu.bandwidth_bytes_per_s * efficiency.weights(quant))
        if quant == "nf4" and num_tokens > _UNPACKED_TOKENS and not efficiency.multiplies_fp4:
            read_s += (
                2
                * matrix.size
                * DTYPE_BYTES[self.form.dtype]
                / (gpu.bandwidth_bytes_per_s * efficiency.weights("none"))
            )
        compute_s = 2 * matrix.size * num_tokens / (self._flops(quant) * efficiency.products(quant))
        return max(read_s, compute_s) + efficiency.product_s

    def _flops(self, quant: QuantFormat) -> float:
        narrow = {"fp8": self.gpu.fp8_flops, "nf4": self.gpu.fp4_flops if self.efficiency.multiplies_fp4 else None}
        return narrow.get(quant) or self.gpu.bf16_flops

    def _attention_s(self, load: StepLoad) -> float:
        gpu, plan, efficiency = self.gpu, self._plan, self.efficiency
        form = self.form
        rate = gpu.bandwidth_bytes_per_s * efficiency.kv(form.kv_format)
        read_s = load.num_read_tokens / self.layout.kv_shards * self._kv_token_bytes / rate
        pairs = load.num_prefill_pairs / self.layout.kv_shards
        pair_flops = 4 * pairs * plan.num_heads * self.shape.head_dim * self.shape.num_layers
        compute_s = pair_flops / (gpu.bf16_flops * efficiency.pair_flops)
        return read_s + compute_s + self.shape.num_layers * efficiency.attention_s

    def _small_s(self, num_tokens: int) -> float:
        """Kernels that read and write each token's features: about twelve widths of them, and four of the product's."""
        qkv, _, gate_up, down = self._matrices
        widths = 10 * self.shape.hidden_size + 2 * qkv.out_features + gate_up.out_features + 2 * down.in_features
        token_bytes = widths * DTYPE_BYTES[self.form.dtype]
        moved_s = num_tokens * token_bytes / (self.gpu.bandwidth_bytes_per_s * self.efficiency.small_bandwidth)
        return self.shape.num_layers * (moved_s + self.efficiency.small_s)

    def _collectives_s(self, num_tokens: int) -> float:
        if self.layout.num_ranks == 1:
            return 0.0
        reduced = num_tokens * self.shape.hidden_size * DTYPE_BYTES[self.form.dtype]
        layer_s = _REDUCTIONS_PER_LAYER * self._exchange_s(self.layout.num_ranks, 2 * reduced)
        if self.layout.kv_shards > 1:
            parts = num_tokens * self._plan.num_heads * (self.shape.head_dim + 1) * _FLOAT_BYTES
            layer_s += self._exchange_s(self.layout.kv_shards, parts)
        return self.shape.num_layers * layer_s + self._exchange_s(self.layout.num_ranks, 0)

    def _exchange_s(self, num_ranks: int, num_bytes: float) -> float:
        gpu, efficiency = self.gpu, self.efficiency
        in_node = self.layout.num_ranks <= gpu.gpus_per_node
        link = gpu.link_bytes_per_s if in_node else gpu.network_bytes_per_s
        fixed_s = efficiency.collective_s if in_node else efficiency.network_s
        return fixed_s + num_bytes * (num_ranks - 1) / num_ranks / (link * efficiency.link_share)

    def _launch_s(self, load: StepLoad) -> float:
        """Nothing where there is a graph; kernels of many tokens run longer than launching the next ones takes."""
        if self._padded(load) is not None:
            return 0.0
        unhidden = max(0.0, 1.0 - load.num_tokens / _HIDING_TOKENS)
        return self.shape.num_layers * _KERNELS_PER_LAYER * self.efficiency.launch_s * unhidden
