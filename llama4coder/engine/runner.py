"""One rank at work: weights, KV memory and sequences, turning step plans into step results."""

import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from llama4coder.attention.batch import RowSpan
from llama4coder.config import DType, ResolvedConfig
from llama4coder.engine.hardware import choose_kernels
from llama4coder.engine.plan import RowResult, StepPlan, StepResult, StepRow
from llama4coder.engine.rank_state import RankState
from llama4coder.engine.step_batch import StepBatch, build_batch
from llama4coder.kv.sizing import num_blocks_for
from llama4coder.kv.tensors import LayerKV, allocate_kv
from llama4coder.models.llama import Llama
from llama4coder.models.loader import load_llama
from llama4coder.models.weights import Placement
from llama4coder.progress import Progress
from llama4coder.sampling.draw import TorchDraw
from llama4coder.sampling.logprobs import position_logprobs
from llama4coder.sampling.sampler import Sampler
from llama4coder.shape import read_shape

_TORCH_DTYPES: dict[DType, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class ModelRunner:
    """Executes plans in order; for one thread."""

    def __init__(self, model: Llama, kv: list[LayerKV], state: RankState) -> None:
        self._model = model
        self._sampler = Sampler(TorchDraw())
        self._kv = kv
        self._state = state
        self._device = kv[0].keys.device

    @classmethod
    def load(cls, config: ResolvedConfig, progress: Progress) -> "ModelRunner":
        """Read the weights and take the KV memory; raises `CheckpointError`."""
        torch.set_num_threads(config.engine.num_threads)
        folder = Path(config.model.path)
        shape = read_shape(folder)
        placement = Placement(_TORCH_DTYPES[config.model.dtype], torch.device(config.engine.device))
        kernels = choose_kernels(placement, config.engine.num_threads)
        with torch.inference_mode():
            model = load_llama(folder, shape, config.model.context_length, kernels, placement, progress)
            kv = allocate_kv(shape, config.engine.num_blocks, placement.dtype, placement.device)
        max_blocks = num_blocks_for(config.model.context_length)
        return cls(model, kv, RankState(config.engine.max_sequences, max_blocks, shape.vocab_size, placement.device))

    @torch.inference_mode()
    def execute(self, plan: StepPlan) -> StepResult:
        """Apply the plan's changes, run its rows, sample where they ask for it."""
        start_s = time.perf_counter()
        self._state.apply(plan)
        results: tuple[RowResult, ...] = ()
        if plan.rows:
            batch = build_batch(plan, self._state, self._device)
            attention = self._model.attention.prepare(batch.layout)
            hidden = self._model.forward(batch.token_ids, batch.positions, self._kv, attention)
            results = self._sample(plan, batch, hidden)
        return StepResult(plan.step_id, results, time.perf_counter() - start_s)

    def _sample(self, plan: StepPlan, batch: StepBatch, hidden: Tensor) -> tuple[RowResult, ...]:
        spans = dict(zip(plan.rows, batch.layout.rows, strict=True))
        results = {
            row.seq_id: self._prompt_result(row, spans[row], hidden) for row in plan.rows if self._is_scored(row)
        }
        sampling = [row for row in plan.rows if row.samples]
        if sampling:
            last = [spans[row].first + row.num_tokens - 1 for row in sampling]
            for sampled in self._sample_rows(sampling, self._model.logits(hidden[last])):
                scored = results.get(sampled.seq_id, sampled)
                results[sampled.seq_id] = replace(sampled, prompt_logprobs=scored.prompt_logprobs)
        return tuple(results.values())

    def _sample_rows(self, rows: list[StepRow], logits: Tensor) -> list[RowResult]:
        sequences = [self._state[row.seq_id] for row in rows]
        token_ids: list[int] = self._sampler(logits, [seq.sampling_row() for seq in sequences]).tolist()
        results = []
        for index, (row, seq, token_id) in enumerate(zip(rows, sequences, token_ids, strict=True)):
            seq.append(token_id)
            num_top = seq.sampling.num_logprobs
            logprobs = () if num_top is None else position_logprobs(logits[index : index + 1], (token_id,), num_top)
            results.append(RowResult(row.seq_id, (token_id,), logprobs))
        return results

    def _is_scored(self, row: StepRow) -> bool:
        """Whether the row holds prompt tokens whose successors' log-probabilities are wanted."""
        seq = self._state[row.seq_id]
        return seq.sampling.num_prompt_logprobs is not None and row.start < seq.num_prompt_tokens - 1

    def _prompt_result(self, row: StepRow, span: RowSpan, hidden: Tensor) -> RowResult:
        seq = self._state[row.seq_id]
        end = min(row.start + row.num_tokens, seq.num_prompt_tokens - 1)
        logits = self._model.logits(hidden[span.first : span.first + end - row.start])
        successors = seq.token_ids[row.start + 1 : end + 1]
        num_top = seq.sampling.num_prompt_logprobs or 0
        return RowResult(row.seq_id, (), prompt_logprobs=position_logprobs(logits, successors, num_top))
