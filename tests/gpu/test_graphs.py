"""Steps by graphs compute what eager steps compute; without a GPU, a graph is a call that is made again."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from llama4coder.attention.batch import HeadLayout
from llama4coder.config import KVFormat
from llama4coder.engine.forward import EagerPass
from llama4coder.engine.graph_pass import GraphPass
from llama4coder.engine.largest_step import largest_steps
from llama4coder.engine.plan import NewSequence, StepPlan, StepRow
from llama4coder.engine.rank_state import RankState
from llama4coder.engine.runner import ModelRunner
from llama4coder.gpu.attention import PagedAttention
from llama4coder.gpu.graph_sizes import GraphSizes
from llama4coder.gpu.graphs import CudaRecorder
from llama4coder.kv.formats.allocate import allocate_kv
from llama4coder.kv.formats.tail import TailedKV, TailSize
from llama4coder.kv.sizing import num_blocks_for, tail_tokens
from llama4coder.kv.step_sizing import StepLimits
from llama4coder.kv.tensors import LayerKV
from llama4coder.layers.kernels import TorchKernels
from llama4coder.models.loader import build_llama
from llama4coder.models.random_weights import RandomWeights
from llama4coder.models.weights import Placement
from llama4coder.parallel.plan import RankPlan
from llama4coder.parallel.share import RankShare
from llama4coder.parallel.vocabulary import ShardedVocabulary
from llama4coder.sampling.draw import TorchDraw
from llama4coder.sampling.filters import TorchFilter
from llama4coder.sampling.sampler import Sampler
from llama4coder.types import SamplingParams
from tests.support.shapes import TINY

MAX_SEQUENCES = 6
NUM_BLOCKS = 48


class CallRecorder:
    """Implements `Recorder` without a GPU, and counts."""

    def __init__(self) -> None:
        self.num_recorded = 0
        self.num_replayed = 0

    def __call__(self, call: Callable[[], None]) -> Callable[[], None]:
        self.num_recorded += 1
        call()

        def replay() -> None:
            self.num_replayed += 1
            call()

        return replay


class CountingCudaRecorder(CallRecorder):
    """The real one, counted."""

    def __init__(self) -> None:
        super().__init__()
        self._recorder = CudaRecorder()

    def __call__(self, call: Callable[[], None]) -> Callable[[], None]:
        return super().__call__(self._recorder(call))


class Rank:
    """A runner over a tiny random model, with or without graphs."""

    def __init__(
        self,
        device: torch.device,
        *,
        graphs: bool,
        kv_format: KVFormat = "dense",
        num_rows: tuple[int, ...] = (1, 2, 4),
    ) -> None:
        placement = Placement(torch.float32, device)
        heads = HeadLayout(TINY.num_heads, TINY.num_kv_heads, TINY.head_dim)
        self.recorder = CountingCudaRecorder() if device.type == "cuda" else CallRecorder()
        with torch.inference_mode():
            kernels, tails = TorchKernels(kv_format), TailSize(MAX_SEQUENCES, tail_tokens(2))
            self.model = build_llama(RandomWeights(placement), RankShare.whole(TINY), 128, kernels, placement)
            self.kv = allocate_kv(RankPlan.alone(TINY), NUM_BLOCKS, placement, kv_format, tails)
            state = RankState(MAX_SEQUENCES, num_blocks_for(128), TINY.vocab_size, device)
            forward: EagerPass | GraphPass = EagerPass(self.model, self.kv, state)
            if graphs:
                sizes = GraphSizes(num_rows, (1, 3))
                forward = GraphPass.record(forward, PagedAttention(heads), sizes, self.recorder)
        self.logits: list[Tensor] = []
        vocabulary = ShardedVocabulary.of(RankShare.whole(TINY))
        self.runner = ModelRunner(state, self._keeping(forward), Sampler(TorchFilter(), TorchDraw(), vocabulary))

    def _keeping(self, forward: EagerPass | GraphPass) -> Callable[[StepPlan, Sequence[int]], Tensor]:
        def keep(plan: StepPlan, wanted: Sequence[int]) -> Tensor:
            logits = forward(plan, wanted)
            self.logits.append(logits.clone())
            return logits

        return keep


def new(seq_id: int, num_tokens: int, **sampling: object) -> NewSequence:
    tokens = torch.randint(0, TINY.vocab_size, (num_tokens,), generator=torch.Generator().manual_seed(seq_id)).tolist()
    return NewSequence(seq_id, tuple(tokens), num_tokens, SamplingParams(**sampling), seq_id, 0, ())


def prefill(seq_id: int, num_tokens: int, blocks: tuple[int, ...]) -> StepRow:
    return StepRow(seq_id, 0, num_tokens, blocks, samples=True)


def decode(seq_id: int, start: int, *blocks: int, num_tokens: int = 1) -> StepRow:
    return StepRow(seq_id, start, num_tokens, blocks, samples=True)


PLANS = [
    StepPlan(1, (), (new(1, 15), new(2, 30)), (prefill(1, 15, (7,)), prefill(2, 30, (3, 9)))),
    StepPlan(2, (), (), (decode(1, 15), decode(2, 30))),
    StepPlan(3, (), (), (decode(1, 16, 40), decode(2, 31))),  # a block more
    StepPlan(4, (), (new(3, 20),), (decode(2, 32, 41), decode(1, 17), prefill(3, 20, (0, 1)))),  # mixed, reordered
    StepPlan(5, (), (), (decode(3, 20), decode(1, 18), decode(2, 33))),  # padded from 3 to 4
    StepPlan(6, (2,), (new(4, 16),), (prefill(4, 16, (9,)),)),  # the place and a block of one that is gone
    StepPlan(7, (), (), (decode(4, 16, 3), decode(1, 19))),
    StepPlan(8, (), (), (decode(1, 20),)),
]
REPLAYED_STEPS = [2, 3, 5, 7, 8]


@pytest.fixture(scope="module")
def ranks(device: torch.device) -> tuple[Rank, Rank]:
    return Rank(device, graphs=False), Rank(device, graphs=True)


def test_tokens_and_logits_are_those_of_eager_steps(ranks: tuple[Rank, Rank]) -> None:
    eager, graph = ranks
    for plan in PLANS:
        before = graph.recorder.num_replayed
        expected, actual = eager.runner.execute(plan), graph.runner.execute(plan)
        assert actual.rows == expected.rows
        torch.testing.assert_close(graph.logits[-1], eager.logits[-1], atol=1e-4, rtol=1e-4)
        assert (graph.recorder.num_replayed > before) == (plan.step_id in REPLAYED_STEPS)
    for ours, theirs in zip(graph.kv, eager.kv, strict=True):  # padding rows have written nothing
        torch.testing.assert_close(ours.keys, theirs.keys, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours.values, theirs.values, atol=1e-4, rtol=1e-4)


def test_several_tokens_per_row_are_replayed_with_logits_for_each(device: torch.device) -> None:
    eager, graph = Rank(device, graphs=False), Rank(device, graphs=True)
    news = (new(1, 40), new(2, 19), new(3, 3))
    first = StepPlan(1, (), news, (prefill(1, 37, (5, 6, 7)), prefill(2, 16, (8, 2))))
    verify = StepPlan(2, (), (), tuple(decode(item.seq_id, len(item.token_ids) - 3, num_tokens=3) for item in news))
    verify = StepPlan(2, (), (), (*verify.rows[:2], StepRow(3, 0, 3, (1,), samples=True)))
    logits = []
    for rank in (eager, graph):
        with torch.inference_mode():
            for plan in (StepPlan(1, (), news, tuple(_silent(row) for row in first.rows)), verify):
                rank.runner._state.apply(plan)
                rank.runner._forward(plan, range(plan.num_tokens))
        logits.append(rank.logits[-1])
    assert graph.recorder.num_replayed == 1
    assert logits[1].shape == (9, TINY.vocab_size)
    torch.testing.assert_close(logits[1], logits[0], atol=1e-4, rtol=1e-4)


def _silent(row: StepRow) -> StepRow:
    return StepRow(row.seq_id, row.start, row.num_tokens, row.new_block_ids, samples=False)


def test_guesses_of_different_lengths_are_replayed_together(device: torch.device) -> None:
    """A row without guesses, one with two, and one so short that there is nothing before it to compute again."""
    eager, graph = Rank(device, graphs=False), Rank(device, graphs=True)
    news = (new(1, 15), new(2, 30), new(3, 1))
    plans = [
        StepPlan(1, (), news[:2], (prefill(1, 15, (7,)), prefill(2, 30, (3, 9)))),
        StepPlan(2, (), news[2:], (decode(1, 15), StepRow(2, 30, 3, (1,), True, (5, 6)), prefill(3, 1, (4,)))),
        StepPlan(3, (), (), (decode(1, 16, 8), StepRow(2, 31, 2, (), True, (9,)), decode(3, 1))),
    ]
    for plan in plans:
        expected, actual = eager.runner.execute(plan), graph.runner.execute(plan)
        assert actual.rows == expected.rows
        torch.testing.assert_close(graph.logits[-1], eager.logits[-1], atol=1e-4, rtol=1e-4)
    assert graph.recorder.num_replayed == 2
    for ours, theirs in zip(graph.kv, eager.kv, strict=True):
        torch.testing.assert_close(ours.keys, theirs.keys, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kv_format", ["int8", "fp8", "int4"])
def test_every_format_is_replayed(device: torch.device, kv_format: KVFormat) -> None:
    """Guesses that fill a block and turn out wrong, rows that are computed again in part, and rows that pad."""
    eager, graph = (Rank(device, graphs=graphs, kv_format=kv_format, num_rows=(4,)) for graphs in (False, True))
    plans = [
        StepPlan(1, (), (new(1, 15), new(2, 30)), (prefill(1, 15, (7,)), prefill(2, 30, (3, 9)))),
        StepPlan(2, (), (new(3, 1),), (decode(1, 15), StepRow(2, 30, 3, (1,), True, (5, 6)), prefill(3, 1, (4,)))),
        StepPlan(3, (), (), (decode(1, 16, 8), StepRow(2, 31, 2, (), True, (9,)), decode(3, 1))),
        StepPlan(4, (), (), (decode(2, 33), decode(1, 17), decode(3, 2))),
    ]
    for plan in plans:
        expected, actual = eager.runner.execute(plan), graph.runner.execute(plan)
        assert actual.rows == expected.rows
        torch.testing.assert_close(graph.logits[-1], eager.logits[-1], atol=1e-3, rtol=1e-3)
    assert graph.recorder.num_replayed == 3
    for ours, theirs in zip(graph.kv, eager.kv, strict=True):
        for part, expected in zip(_kept(ours), _kept(theirs), strict=True):
            torch.testing.assert_close(part, expected, atol=1e-3, rtol=1e-3)


def _kept(kv: LayerKV) -> tuple[Tensor, ...]:
    """All that there is, as it is read."""
    tails = kv.tail.per_block if isinstance(kv, TailedKV) else ()
    return (*kv.read(torch.arange(NUM_BLOCKS, device=kv.per_block[0].device)).per_block, *tails)


def test_each_size_is_recorded_once(ranks: tuple[Rank, Rank]) -> None:
    assert ranks[1].recorder.num_recorded == 3 * 2


def test_the_next_step_needs_nothing_that_the_host_has_seen(device: torch.device) -> None:
    """All steps are launched before the first result is looked at."""
    waiting, ahead = Rank(device, graphs=True), Rank(device, graphs=True)
    expected = [waiting.runner.execute(plan).rows for plan in PLANS]
    pending = [ahead.runner.launch(plan) for plan in PLANS]
    assert [step.result().rows for step in pending] == expected


def test_a_warmed_up_rank_computes_the_same(device: torch.device) -> None:
    cold, warm = Rank(device, graphs=True), Rank(device, graphs=True)
    limits = StepLimits(128, max_sequences=3, max_step_tokens=100, max_draft_tokens=2)
    for plan in largest_steps(limits, TINY.vocab_size, kv_shards=1):
        warm.runner.execute(plan)
    assert warm.recorder.num_replayed == 2
    assert [warm.runner.execute(plan).rows for plan in PLANS] == [cold.runner.execute(plan).rows for plan in PLANS]


def test_log_probabilities_come_with_replayed_steps(device: torch.device) -> None:
    eager, graph = Rank(device, graphs=False), Rank(device, graphs=True)
    plans = [
        StepPlan(1, (), (new(1, 20, num_logprobs=2, num_prompt_logprobs=1),), (prefill(1, 20, (4, 5)),)),
        StepPlan(2, (), (), (decode(1, 20),)),
    ]
    for plan in plans:
        (expected,), (actual,) = eager.runner.execute(plan).rows, graph.runner.execute(plan).rows
        assert actual.token_ids == expected.token_ids
        assert len(actual.logprobs) == 1
        assert len(actual.prompt_logprobs) == len(expected.prompt_logprobs) == (19 if plan.step_id == 1 else 0)
        assert actual.logprobs[0].chosen.logprob == pytest.approx(expected.logprobs[0].chosen.logprob, abs=1e-3)
    assert graph.recorder.num_replayed == 1


def test_penalties_count_tokens_that_the_host_has_not_seen(device: torch.device) -> None:
    """With a penalty this strong no token comes twice."""
    rank = Rank(device, graphs=True)
    first = StepPlan(1, (), (new(1, 4, presence_penalty=1000.0),), (prefill(1, 4, (4, 5)),))
    plans = [first, *(StepPlan(step, (), (), (decode(1, 2 + step),)) for step in range(2, 20))]
    pending = [rank.runner.launch(plan) for plan in plans]
    tokens = [step.result().rows[0].token_ids[0] for step in pending]
    assert len(set(tokens)) == len(tokens) == 19
