"""One rank at work: weights, KV memory and sequences, turning step plans into step results."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from llama4coder.config import ResolvedConfig
from llama4coder.engine.forward import ForwardPass
from llama4coder.engine.hardware import choose_forward, choose_kernels, choose_sampler
from llama4coder.engine.pending import PendingStep
from llama4coder.engine.plan import NewSequence, StepPlan, StepResult, StepRow
from llama4coder.engine.rank_state import RankState
from llama4coder.engine.wanted import WantedTokens
from llama4coder.gpu.graph_sizes import GraphSizes
from llama4coder.gpu.transfer import Moment, download
from llama4coder.kv.formats.allocate import allocate_kv
from llama4coder.kv.formats.tail import TailSize
from llama4coder.kv.sizing import num_blocks_for, tail_tokens
from llama4coder.machine import return_freed_memory
from llama4coder.models.loader import load_llama
from llama4coder.models.weights import Placement
from llama4coder.parallel.share import RankShare
from llama4coder.parallel.vocabulary import ShardedVocabulary
from llama4coder.progress import Progress
from llama4coder.sampling.logprobs import position_logprobs
from llama4coder.sampling.sampler import Sampler
from llama4coder.shape import read_shape
from llama4coder.types import PositionLogprobs, SamplingParams

_WARM_UP_ID = -1  # the scheduler's ids begin at 0


class ModelRunner:
    """Executes plans in order; for one thread."""

    def __init__(self, state: RankState, forward: ForwardPass, sampler: Sampler) -> None:
        self._state = state
        self._forward = forward
        self._sampler = sampler

    @classmethod
    def load(cls, config: ResolvedConfig, progress: Progress) -> "ModelRunner":
        """The only rank of its replica; see `load_share`."""
        return cls.load_share(config, RankShare.whole(read_shape(Path(config.model.path))), progress)

    @classmethod
    def load_share(cls, config: ResolvedConfig, share: RankShare, progress: Progress) -> "ModelRunner":
        """Read one rank's weights and take its KV memory; raises `CheckpointError`."""
        torch.set_num_threads(config.engine.num_threads)
        folder, shape = Path(config.model.path), share.plan.shape
        placement = Placement.of(config.model.dtype, config.engine.device)
        engine = config.engine
        kernels = choose_kernels(
            placement, config.model.quant, engine.num_threads, engine.kv_format, engine.block_bounds
        )
        with torch.inference_mode():
            model = load_llama(folder, share, config.model.context_length, kernels, placement, progress)
            kv = allocate_kv(
                share.plan, engine.num_blocks, placement, engine.kv_format, _tails(config), engine.block_bounds
            )
            max_blocks = num_blocks_for(config.model.context_length)
            kv_part = share.plan.layout.kv_part(share.plan.rank)
            state = RankState(engine.max_sequences, max_blocks, shape.vocab_size, placement.device, kv_part)
            forward = choose_forward(model, kv, state, _graph_sizes(config))
        sampler = choose_sampler(placement, engine.num_threads, ShardedVocabulary.of(share))
        runner = cls(state, forward, sampler)
        if placement.device.type == "cuda":
            runner.warm_up(min(engine.max_step_tokens, config.model.context_length - 1))
        return_freed_memory()  # what reading needed in passing, some per cent of what was planned
        return runner

    def warm_up(self, num_tokens: int) -> None:
        """Run a prompt of so many tokens and one more step: kernels are compiled now, and not while somebody waits."""
        tokens = (0,) * num_tokens
        prompt = NewSequence(_WARM_UP_ID, tokens, num_tokens, SamplingParams(top_p=0.9), 0, 0, ())
        blocks = tuple(range(num_blocks_for(num_tokens + 1)))  # nobody's yet
        self.execute(StepPlan(0, (), (prompt,), (StepRow(_WARM_UP_ID, 0, num_tokens, blocks, samples=True),)))
        self.execute(StepPlan(0, (), (), (StepRow(_WARM_UP_ID, num_tokens, 1, (), samples=True),)))
        self.execute(StepPlan(0, (_WARM_UP_ID,), (), ()))

    def execute(self, plan: StepPlan) -> StepResult:
        """Run a plan to its end."""
        return self.launch(plan).result()

    @torch.inference_mode()
    def launch(self, plan: StepPlan) -> PendingStep:
        """Apply the plan's changes, run its rows, sample where they ask for it; on a GPU, without waiting for it.

        The next plan may be launched at once: what this one samples is where the next one finds it.
        """
        start = Moment.of(self._state.device)
        self._state.apply(plan)
        wanted = WantedTokens.of(plan, self._state)
        logits = self._forward(plan, wanted.places) if plan.rows else torch.empty(0)
        sampled = self._sample(wanted.sampling, logits)
        logprobs = self._logprobs(wanted.sampling, logits, sampled)
        prompt_logprobs = {scored.seq_id: scored.logprobs(self._whole(logits[scored.rows])) for scored in wanted.scored}
        token_ids = download(sampled)
        end = Moment.of(self._state.device)
        return PendingStep(plan.step_id, wanted.sampling, token_ids, logprobs, prompt_logprobs, start, end)

    def _sample(self, rows: Sequence[StepRow], logits: Tensor) -> Tensor:
        """Token ids `[sum of num_sampled]`, which the rows' sequences get; the first logits are theirs."""
        if not rows:
            return torch.empty(0, dtype=torch.int64)
        sampling = [
            self._state[row.seq_id].sampling_row(row.draft_token_ids[:num_assumed])
            for row in rows
            for num_assumed in range(row.num_sampled)
        ]
        token_ids = self._sampler(logits[: len(sampling)], sampling)
        self._state.keep(rows, token_ids)
        return token_ids

    def _logprobs(
        self, rows: Sequence[StepRow], logits: Tensor, sampled: Tensor
    ) -> dict[int, tuple[PositionLogprobs, ...]]:
        """Of the sequences that want them; waits for the device if there are any."""
        wanted: list[StepRow] = []
        places: list[int] = []
        end = 0
        for row in rows:
            end += row.num_sampled
            if self._state[row.seq_id].wants_logprobs:
                wanted.append(row)
                places.extend(range(end - row.num_sampled, end))
        if not wanted:
            return {}
        lengths = [row.num_sampled for row in wanted]
        chosen, whole = torch.split(sampled[places], lengths), torch.split(self._whole(logits[places]), lengths)
        return {
            row.seq_id: position_logprobs(its_logits, its_tokens.tolist(), self._state[row.seq_id].num_logprobs)
            for row, its_tokens, its_logits in zip(wanted, chosen, whole, strict=True)
        }

    def _whole(self, logits: Tensor) -> Tensor:
        return self._sampler.vocabulary.whole(logits)


def _graph_sizes(config: ResolvedConfig) -> GraphSizes:
    return GraphSizes.to_verify(config.engine.max_sequences, config.speculation.most_draft_tokens)


def _tails(config: ResolvedConfig) -> TailSize:
    return TailSize(config.engine.max_sequences, tail_tokens(config.speculation.most_draft_tokens))
