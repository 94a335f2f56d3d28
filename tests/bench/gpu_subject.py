"""A model of random weights with its KV memory, run by the engine's own `ModelRunner`."""

import itertools
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from llama4coder.engine.forward import EagerPass, ForwardPass
from llama4coder.engine.hardware import choose_forward, choose_sampler
from llama4coder.engine.plan import NewSequence, StepPlan, StepRow
from llama4coder.engine.rank_state import RankState
from llama4coder.engine.runner import ModelRunner
from llama4coder.gpu.graph_sizes import GraphSizes
from llama4coder.kv.formats.allocate import allocate_kv
from llama4coder.kv.formats.tail import TailSize
from llama4coder.kv.sizing import BLOCK_SIZE, num_blocks_for
from llama4coder.kv.tensors import LayerKV
from llama4coder.layers.kernels import Kernels
from llama4coder.models.llama import Llama
from llama4coder.models.loader import build_llama
from llama4coder.models.random_weights import RandomWeights
from llama4coder.models.weights import Placement
from llama4coder.parallel.plan import RankPlan
from llama4coder.parallel.share import RankShare
from llama4coder.parallel.vocabulary import ShardedVocabulary
from llama4coder.sampling.sampler import Sampler
from llama4coder.shape import ModelShape
from llama4coder.types import SamplingParams
from tests.bench.gpu_report import tensor_bytes

_NUM_THREADS = 2
_KEPT_FREE = 0.25  # of the memory left beside the weights: activations, graphs, logits
_CPU_KV_BYTES = 2**26


@dataclass(frozen=True, slots=True)
class Batch:
    """What one measurement runs: rows of equal context."""

    num_rows: int
    context: int
    tokens_per_row: int = 1

    @property
    def num_blocks(self) -> int:
        return self.num_rows * num_blocks_for(self.context)


@dataclass(slots=True)
class Lane:
    """One way of running a forward pass, with the sequences it knows."""

    state: RankState
    forward: ForwardPass
    sampler: Sampler
    runner: ModelRunner
    gone: tuple[int, ...] = ()


@dataclass(slots=True)
class Subject:
    """Model, KV memory, and a lane for each way of running it."""

    name: str
    shape: ModelShape
    placement: Placement
    model: Llama
    kv: list[LayerKV]
    max_rows: int
    max_context: int
    lanes: dict[str, Lane] = field(default_factory=dict)
    _ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @property
    def weight_bytes(self) -> int:
        """What one step reads: everything but the embedding's table and the rotations."""
        return tensor_bytes(self.model.layers, self.model.norm, self.model.head)

    @property
    def num_blocks(self) -> int:
        return len(self.kv[0].keys)

    def kv_bytes(self, batch: Batch) -> int:
        """What one step reads of the KV memory."""
        per_token = sum(layer.keys[0, 0].nbytes + layer.values[0, 0].nbytes for layer in self.kv)
        return batch.num_rows * batch.context * per_token

    def fits(self, batch: Batch) -> bool:
        return (
            batch.num_blocks <= self.num_blocks
            and batch.num_rows <= self.max_rows
            and batch.context <= self.max_context
        )

    def add_lanes(self, sizes: GraphSizes | None) -> None:
        """An eager lane, and one with graphs of these sizes where there can be any."""
        self.lanes["eager"] = self.eager_lane()
        if sizes is None:
            return
        with_graphs = self._state()
        with torch.inference_mode():
            forward = choose_forward(self.model, self.kv, with_graphs, sizes)
        if not isinstance(forward, EagerPass):
            self.lanes["graph"] = self._lane(with_graphs, forward)

    def eager_lane(self) -> Lane:
        """One more, with sequences of its own."""
        state = self._state()
        return self._lane(state, EagerPass(self.model, self.kv, state))

    def start(self, lane: Lane, batch: Batch, num_tokens: int) -> list[StepRow]:
        """Announce sequences of `num_tokens` known tokens, with blocks for the whole context, scattered.

        Returns their rows, each for the last `tokens_per_row` tokens. Their KV is whatever lies in the blocks.
        """
        random = np.random.default_rng(0)
        blocks = random.permutation(self.num_blocks)[: batch.num_blocks].reshape(batch.num_rows, -1)
        tokens = random.integers(0, self.shape.vocab_size, (batch.num_rows, num_tokens))
        rows, news = [], []
        for its_tokens, its_blocks in zip(tokens.tolist(), blocks.tolist(), strict=True):
            seq_id = next(self._ids)
            news.append(NewSequence(seq_id, tuple(its_tokens), num_tokens, SamplingParams(), seq_id, 0, ()))
            first = num_tokens - batch.tokens_per_row
            rows.append(StepRow(seq_id, first, batch.tokens_per_row, tuple(its_blocks), samples=True))
        with torch.inference_mode():
            lane.state.apply(StepPlan(0, lane.gone, tuple(news), ()))
        lane.gone = tuple(row.seq_id for row in rows)
        return rows

    def _state(self) -> RankState:
        return RankState(self.max_rows, num_blocks_for(self.max_context), self.shape.vocab_size, self.placement.device)

    def _lane(self, state: RankState, forward: ForwardPass) -> Lane:
        vocabulary = ShardedVocabulary.of(RankShare.whole(self.shape))
        sampler = choose_sampler(self.placement, _NUM_THREADS, vocabulary)
        return Lane(state, forward, sampler, ModelRunner(state, forward, sampler))


def build_subject(
    name: str, shape: ModelShape, kernels: Kernels, placement: Placement, max_rows: int, max_context: int
) -> Subject:
    """Weights and random KV on the device, matrix by matrix; the largest in bf16 is what must fit beside the rest."""
    with torch.inference_mode():
        model = build_llama(RandomWeights(placement), RankShare.whole(shape), max_context, kernels, placement)
        num_blocks = _num_blocks(shape, placement, max_rows, max_context)
        kv = allocate_kv(RankPlan.alone(shape), num_blocks, placement, "dense", TailSize(0, 0))
        for layer in kv:
            layer.keys.normal_()
            layer.values.normal_()
    return Subject(name, shape, placement, model, kv, max_rows, max_context)


def decode_step_s(subject: Subject, lane: Lane, batch: Batch, num_steps: int) -> float:
    """Seconds per step of decoding with two steps in flight, as an engine that plans ahead runs them."""
    warm_up = 3
    rows = subject.start(lane, batch, batch.context - num_steps - warm_up)
    plans = [_decode_plan(rows, step) for step in range(warm_up + num_steps)]
    _run(lane.runner, plans[:warm_up])
    start_s = time.perf_counter()
    _run(lane.runner, plans[warm_up:])
    return (time.perf_counter() - start_s) / num_steps


def _run(runner: ModelRunner, plans: Sequence[StepPlan]) -> None:
    in_flight = deque(runner.launch(plan) for plan in plans[:1])
    for plan in plans[1:]:
        in_flight.append(runner.launch(plan))
        in_flight.popleft().result()
    in_flight.popleft().result()


def _decode_plan(rows: Sequence[StepRow], step: int) -> StepPlan:
    return StepPlan(
        step,
        (),
        (),
        tuple(StepRow(row.seq_id, row.start + step, 1, () if step else row.new_block_ids, True) for row in rows),
    )


def _num_blocks(shape: ModelShape, placement: Placement, max_rows: int, max_context: int) -> int:
    itemsize = torch.empty(0, dtype=placement.dtype).itemsize
    block_bytes = 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim * itemsize * BLOCK_SIZE
    free_bytes = _CPU_KV_BYTES
    if placement.device.type == "cuda":
        torch.cuda.empty_cache()
        free_bytes = int((1 - _KEPT_FREE) * torch.cuda.mem_get_info()[0])
    return min(free_bytes // block_bytes, max_rows * num_blocks_for(max_context))
