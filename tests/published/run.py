"""A throughput run of another engine: as many requests as there is work for, with that engine's batches and graphs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from llama4coder.kv.sizing import num_blocks_for
from llama4coder.planner.candidate import Candidate
from llama4coder.planner.efficiency import Efficiency
from llama4coder.planner.fit import Fit
from llama4coder.planner.plan import step_times
from llama4coder.planner.replica import Replica
from llama4coder.planner.step_load import StepLoad
from llama4coder.planner.step_time import StepTime, StepTimes
from llama4coder.planner.traffic import Work
from tests.published.point import Setting


@dataclass(frozen=True, slots=True)
class Padded:
    """Implements `StepTimes`: another one's, where a step that only decodes computes the rows of the next graph."""

    times: StepTimes
    graph_rows: Sequence[int]  # ascending

    def step(self, load: StepLoad) -> StepTime:
        """See `StepTimes`."""
        rows = next((rows for rows in self.graph_rows if rows >= load.num_tokens), None)
        if rows is None or not load.is_decode_only:
            return self.times.step(load)
        return self.times.step(StepLoad.decoding(rows, load.num_read_tokens))


@dataclass(frozen=True)
class Run:
    """Each stage of a pipeline has as many ranks as the setting says, and an equal part of the layers."""

    setting: Setting
    work: Work
    stages: int = 1
    reserves: bool = True  # blocks for a whole request when it begins, instead of more when they are needed
    graph_rows: Sequence[int] = ()  # batches that its CUDA graphs compute; none: of any size
    kv_share: float = 0.95  # of the memory that weights leave

    def tokens_per_s_per_gpu(self, efficiency: Efficiency) -> float:
        """Of output."""
        return self._stage(efficiency).max_rate_per_s * self.work.output_tokens / self.num_gpus

    @property
    def num_gpus(self) -> int:
        return self.setting.wish.ranks * self.stages

    @property
    def most_rows(self) -> int:
        """Of a step. Every stage holds keys and values of all batches, of which there are as many as stages."""
        return min(self._candidate.limits.max_sequences, self._held // self.stages)

    @cached_property
    def _candidate(self) -> Candidate:
        """One stage."""
        whole = self.setting.candidate
        shape = replace(whole.model.shape, num_layers=whole.model.shape.num_layers // self.stages)
        return replace(whole, model=replace(whole.model, shape=shape))

    @property
    def _held(self) -> int:
        """Sequences whose blocks fit; other engines keep no tails beside them."""
        fit = Fit.of(self._candidate)
        memory, gpu = fit.memory, self._candidate.gpu
        left = gpu.memory_bytes - memory.runtime - memory.weights - memory.activations
        tokens = self.work.total_tokens if self.reserves else self.work.mean_context
        return int(self.kv_share * left) // (num_blocks_for(tokens) * fit.demand.block_bytes)

    def _stage(self, efficiency: Efficiency) -> Replica:
        """With s stages, each computes s batches in turn, and a token takes s steps: as many tokens/s as one alone."""
        times: StepTimes = step_times(self._candidate, efficiency)
        if self.graph_rows:
            times = Padded(times, self.graph_rows)
        return Replica(times, self.work, self._candidate.limits.max_step_tokens, self.most_rows)
