"""How a step's tokens go through the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from llama4coder.engine.plan import StepPlan
from llama4coder.engine.rank_state import RankState
from llama4coder.engine.step_batch import build_batch
from llama4coder.gpu.transfer import indices
from llama4coder.kv.tensors import LayerKV
from llama4coder.models.llama import Llama


class ForwardPass(Protocol):
    """Computes the rows of a plan that the rank's state has applied, and keeps their keys and values.

    Returns float32 logits `[len(wanted), vocab_size]` of the tokens that are wanted, by their places in the step, rows
    one after the other; valid until the next call. Does not wait for the device.
    """

    def __call__(self, plan: StepPlan, wanted: Sequence[int]) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class EagerPass:
    """Implements `ForwardPass` for every plan, kernel by kernel."""

    model: Llama
    kv: Sequence[LayerKV]
    state: RankState

    def __call__(self, plan: StepPlan, wanted: Sequence[int]) -> Tensor:
        """See `ForwardPass`."""
        batch = build_batch(plan, self.state)
        attention = self.model.attention.prepare(batch.layout)
        hidden = self.model.forward(batch.token_ids, batch.positions, self.kv, attention)
        if not wanted:
            return hidden[:0].float()  # a chunk in the middle of a prompt
        return self.model.logits(select(hidden, wanted))


def select(rows: Tensor, wanted: Sequence[int]) -> Tensor:
    """Some rows of a tensor, without a copy where they are its first ones."""
    if list(wanted) == list(range(len(wanted))):
        return rows[: len(wanted)]
    return rows.index_select(0, indices(list(wanted), rows.device))
