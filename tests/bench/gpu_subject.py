"""A model of random weights with its KV memory, run by the engine's own `ModelRunner`."""

import itertools
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from llama4coder.config import DType, KVFormat
from llama4coder.engine.forward import EagerPass, ForwardPass
from llama4coder.engine.hardware import choose_forward, choose_sampler
from llama4coder.engine.plan import NewSequence, StepPlan, StepRow
from llama4coder.engine.rank_state import RankState
from llama4coder.engine.runner import ModelRunner
from llama4coder.gpu.graph_sizes import GraphSizes
from llama4coder.kv.formats.allocate import allocate_kv
from llama4coder.kv.formats.tail import TailedKV, TailSize
from llama4coder.kv.sizing import BLOCK_SIZE, kv_bytes_per_block, num_blocks_for, tail_tokens
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
_MOST_DRAFTS = 7


@dataclass(frozen=True, slots=True)
class Batch:
    """What one measurement runs: rows of equal context."""

    num_rows: int
    context: int
    tokens_per_row: int = 1

    @property
    def num_blocks(self) -> int:
        return self.num_rows * num_blocks_for(self.context)


@dataclass(frozen=True, slots=True)
class Room:
    """What the KV memory is made for."""

    max_rows: int
    max_context: int
    kv_format: KVFormat = "dense"


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is measured, and the kernels whose results it must give."""

    name: str
    shape: ModelShape
    kernels: Kernels
    exact_kernels: Kernels
    placement: Placement
    kv_format: KVFormat


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
    room: "Room"
    lanes: dict[str, Lane] = field(default_factory=dict)
    _ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @property
    def weight_bytes(self) -> int:
        """What one step reads: everything but the embedding's table and the rotations."""
        return tensor_bytes(self.model.layers, self.model.norm, self.model.head)

    @property
    def num_blocks(self) -> int:
        return len(self.kv[0].per_block[0])

    @property
    def max_rows(self) -> int:
        return self.room.max_rows

    @property
    def max_context(self) -> int:
        return self.room.max_context

    def kv_bytes(self, batch: Batch) -> int:
        """What one step reads of the KV memory."""
        return batch.num_rows * batch.context * sum(map(block_bytes, self.kv)) // BLOCK_SIZE

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


def build_subject(name: str, shape: ModelShape, kernels: Kernels, placement: Placement, room: Room) -> Subject:
    """Weights and random KV on the device, matrix by matrix; the largest in bf16 is what must fit beside the rest."""
    with torch.inference_mode():
        model = build_llama(RandomWeights(placement), RankShare.whole(shape), room.max_context, kernels, placement)
        num_blocks = _num_blocks(RankPlan.alone(shape), placement, room)
        kv = random_kv(RankPlan.alone(shape), num_blocks, placement, room.kv_format, room.max_rows)
    return Subject(name, shape, placement, model, kv, room)


def random_kv(
    plan: RankPlan, num_blocks: int, placement: Placement, kv_format: KVFormat, max_rows: int
) -> list[LayerKV]:
    """Keys and values of about normal size, whatever they are kept in."""
    kv = allocate_kv(plan, num_blocks, placement, kv_format, TailSize(max_rows, tail_tokens(_MOST_DRAFTS)))
    for layer in kv:
        for part in kept(layer):
            if part.dtype in (torch.uint8, torch.int8):
                part.random_()
            elif part.dtype == torch.float8_e4m3fn:
                part.view(torch.uint8).random_(0, 127)  # above it there is what is no number
            elif kv_format == "dense" or (part.dim() == 4 and part.dtype == placement.dtype):
                part.normal_()
            else:
                part.uniform_(0, 0.02)
    return kv


def kept(layer: LayerKV) -> tuple[Tensor, ...]:
    """All that a layer keeps."""
    tails = layer.tail.per_block if isinstance(layer, TailedKV) else ()
    return (*layer.per_block, *tails)


def block_bytes(layer: LayerKV) -> int:
    """Of one layer, scales and all."""
    return sum(part[0].nbytes for part in layer.per_block)


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


def _num_blocks(plan: RankPlan, placement: Placement, room: Room) -> int:
    dtype: DType = "float32" if placement.dtype == torch.float32 else "bfloat16"
    free_bytes = _CPU_KV_BYTES
    if placement.device.type == "cuda":
        torch.cuda.empty_cache()
        free_bytes = int((1 - _KEPT_FREE) * torch.cuda.mem_get_info()[0])
    fitting = free_bytes // kv_bytes_per_block(plan, dtype, room.kv_format)
    return min(fitting, room.max_rows * num_blocks_for(room.max_context))
