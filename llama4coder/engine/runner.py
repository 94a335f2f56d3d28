"""One rank at work: weights, KV memory and sequences, turning step plans into step results."""

from collections.abc import Sequence

import torch
from torch import Tensor

from llama4coder.engine.constraints import HeldOutputs
from llama4coder.engine.forward import ForwardPass
from llama4coder.engine.pending import PendingStep
from llama4coder.engine.plan import StepPlan, StepResult, StepRow
from llama4coder.engine.rank_state import RankState
from llama4coder.engine.wanted import WantedTokens
from llama4coder.gpu.transfer import Moment, download
from llama4coder.kv.host import HostBlocks
from llama4coder.sampling.logprobs import position_logprobs
from llama4coder.sampling.sampler import Sampler
from llama4coder.types import PositionLogprobs


class ModelRunner:
    """Executes plans in order; for one thread."""

    def __init__(
        self,
        state: RankState,
        forward: ForwardPass,
        sampler: Sampler,
        host: HostBlocks | None = None,
        held: HeldOutputs | None = None,
    ) -> None:
        self._state = state
        self._forward = forward
        self._sampler = sampler
        self._host = host
        self._held = HeldOutputs(None) if held is None else held

    def execute(self, plan: StepPlan) -> StepResult:
        """Run a plan to its end."""
        return self.launch(plan).result()

    @torch.inference_mode()
    def launch(self, plan: StepPlan) -> PendingStep:
        """Apply the plan's changes, run its rows, sample where they ask for it; on a GPU, without waiting for it.

        The next plan may be launched at once: what this one samples is where the next one finds it. Only an output that
        is held to a grammar makes it wait, for the step before, while the device has this one's forward pass to do.
        """
        start = Moment.of(self._state.device)
        self._state.apply(plan)
        self._held.apply(plan)
        if self._host is not None:
            self._host.save(plan.saves)
            self._host.load(plan.loads)
        wanted = WantedTokens.of(plan, self._state)
        logits = self._forward(plan, wanted.places) if plan.rows else torch.empty(0)
        sampled = self._sample(wanted.sampling, logits)
        logprobs = self._logprobs(wanted.sampling, logits, sampled)
        prompt_logprobs = {scored.seq_id: scored.logprobs(self._whole(logits[scored.rows])) for scored in wanted.scored}
        token_ids = download(sampled)
        end = Moment.of(self._state.device)
        self._held.keep(wanted.sampling, token_ids, end)
        failed = self._held.failed(wanted.sampling)
        return PendingStep(plan.step_id, wanted.sampling, token_ids, logprobs, prompt_logprobs, failed, start, end)

    def _sample(self, rows: Sequence[StepRow], logits: Tensor) -> Tensor:
        """Token ids `[sum of num_sampled]`, which the rows' sequences get; the first logits are theirs."""
        if not rows:
            return torch.empty(0, dtype=torch.int64)
        sampling = [
            self._state[row.seq_id].sampling_row(row.draft_token_ids[:num_assumed])
            for row in rows
            for num_assumed in range(row.num_sampled)
        ]
        token_ids = self._sampler(logits[: len(sampling)], sampling, self._held.masks(rows))
        self._state.keep(rows, token_ids)
        return token_ids

    def _logprobs(
        self, rows: Sequence[StepRow], logits: Tensor, sampled: Tensor
    ) -> dict[int, tuple[PositionLogprobs, ...]]:
        """Of the sequences that want them; waits for the device if there are any."""
        found: dict[int, tuple[PositionLogprobs, ...]] = {}
        end = 0
        for row in rows:
            end += row.num_sampled
            seq = self._state[row.seq_id]
            if seq.wants_logprobs:
                its = slice(end - row.num_sampled, end)
                found[row.seq_id] = position_logprobs(self._whole(logits[its]), sampled[its].tolist(), seq.num_logprobs)
        return found

    def _whole(self, logits: Tensor) -> Tensor:
        return self._sampler.vocabulary.whole(logits)
