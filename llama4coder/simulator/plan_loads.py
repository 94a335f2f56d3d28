"""What the plans of an engine compute, one after the other."""

from collections import Counter
from dataclasses import dataclass

from llama4coder.engine.plan import StepPlan, StepRow
from llama4coder.planner.step_load import StepLoad


@dataclass(frozen=True, slots=True)
class _Placed:
    """A block of a sequence; only prefixes are shared, so that a block which several have is at one place in all."""

    place: int  # in the sequence
    block_id: int


class PlanLoads:
    """Follows what sequences hold, since keys and values that several of them read come from memory once."""

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._held: dict[int, list[_Placed]] = {}
        self._num_holders: Counter[_Placed] = Counter()
        self._num_again = 0  # blocks that sequences hold, less those that any does

    def of(self, plan: StepPlan) -> StepLoad:
        """The load of the next plan; each is asked for once, in the order in which they are submitted.

        The last token of a prompt by itself counts as one that is generated. Sequences that are not read from in this
        step count as if they were, where they share a prefix: there are few, and not for long.
        """
        for seq_id in plan.gone:
            self._forget(seq_id)
        num_sampled = num_rows = num_read = num_prefill = num_pairs = 0
        for row in plan.rows:
            self._hold(row)
            num_known = row.num_tokens - len(row.draft_token_ids)
            num_sampled += row.num_sampled
            if num_known == 1:
                num_rows += 1
                num_read += row.start + row.num_tokens
            else:
                num_prefill += num_known
                num_pairs += num_known * row.start + num_known * (num_known + 1) // 2
        num_again = min(num_read, self._num_again * self._block_size)
        return StepLoad(plan.num_tokens, num_sampled, num_rows, num_read, num_prefill, num_pairs, num_again)

    def _hold(self, row: StepRow) -> None:
        if not row.new_block_ids:
            return
        held = self._held.setdefault(row.seq_id, [])
        for block_id in row.new_block_ids:
            placed = _Placed(len(held), block_id)
            held.append(placed)
            self._num_again += self._num_holders[placed] > 0
            self._num_holders[placed] += 1

    def _forget(self, seq_id: int) -> None:
        for placed in self._held.pop(seq_id, ()):
            self._num_holders[placed] -= 1
            if self._num_holders[placed]:
                self._num_again -= 1
            else:
                del self._num_holders[placed]
