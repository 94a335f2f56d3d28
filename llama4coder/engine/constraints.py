"""The outputs on a rank that are held to a grammar."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from torch import Tensor

from llama4coder.constraint.masks import MaskedRow, MaskMaker
from llama4coder.constraint.matcher import OutputMatcher
from llama4coder.constraint.vocabulary import GrammarVocabulary
from llama4coder.engine.plan import NewSequence, StepPlan, StepRow
from llama4coder.gpu.transfer import Moment
from llama4coder.sampling.masks import TokenMasks


@dataclass(frozen=True, slots=True, repr=False)
class _Kept:
    """What a step sampled for one sequence, on the host when `moment` has come."""

    token_ids: Tensor
    moment: Moment


class _Held:
    """One sequence: its matcher has followed its first `num_followed` tokens."""

    def __init__(self, new: NewSequence, matcher: "Future[OutputMatcher]") -> None:
        self.num_followed = len(new.token_ids)
        self.kept: _Kept | None = None
        self._compiling = matcher

    def matcher(self) -> OutputMatcher:
        """Waits for the grammar to be compiled."""
        return self._compiling.result()

    def follow(self, num_known: int) -> None:
        """Take what the last step sampled, as far as it counts; waits for that step."""
        if num_known == self.num_followed:
            return
        assert self.kept is not None, "tokens that no step has sampled"
        self.kept.moment.wait()
        self.matcher().follow(self.kept.token_ids[: num_known - self.num_followed].tolist())
        self.num_followed = num_known


class HeldOutputs:
    """Follows them, each from its own tokens; every rank of a replica has the same ones in the same state.

    Grammars are compiled on a thread of their own, while the sequence's prompt is computed. Where the rank has no
    vocabulary no output can be held, and all that should be fail.
    """

    def __init__(self, vocabulary: GrammarVocabulary | None, num_threads: int = 1) -> None:
        self._vocabulary = vocabulary
        self._maker = None if vocabulary is None else MaskMaker(vocabulary.num_words, num_threads)
        self._compiler = ThreadPoolExecutor(1, "grammar")
        self._held: dict[int, _Held] = {}
        self._lost: set[int] = set()

    def apply(self, plan: StepPlan) -> None:
        """Let go of sequences, and begin to hold those that ask for it, as the plan says."""
        for seq_id in plan.gone:
            self._held.pop(seq_id, None)
            self._lost.discard(seq_id)
        for new in plan.new:
            self._learn(new)

    def _learn(self, new: NewSequence) -> None:
        constraint, vocabulary = new.constraint, self._vocabulary
        if constraint is None:
            return
        if vocabulary is None:
            self._lost.add(new.seq_id)
            return
        output = new.token_ids[new.num_prompt_tokens :]
        compiling = self._compiler.submit(OutputMatcher, vocabulary, constraint, output)
        self._held[new.seq_id] = _Held(new, compiling)

    def masks(self, rows: Sequence[StepRow]) -> TokenMasks | None:
        """Of the places that these rows sample, if any of them is held; waits for the step before this one."""
        if self._maker is None or not self._held:
            return None
        places: list[int] = []
        masked: list[MaskedRow] = []
        first = 0
        for row in rows:
            held = self._held.get(row.seq_id)
            if held is not None:
                held.follow(row.num_known)
                masked.append(MaskedRow(held.matcher(), row.draft_token_ids))
                places.extend(range(first, first + row.num_sampled))
            first += row.num_sampled
        return TokenMasks(places, self._maker.masks(masked)) if masked else None

    def failed(self, rows: Sequence[StepRow]) -> frozenset[int]:
        """The sequences of these rows that should be held and cannot be."""
        if not self._held and not self._lost:
            return frozenset()
        held = {row.seq_id: self._held.get(row.seq_id) for row in rows}
        broken = {seq_id for seq_id, one in held.items() if one is not None and one.matcher().has_failed}
        return frozenset(broken | (self._lost & held.keys()))

    def keep(self, rows: Sequence[StepRow], token_ids: Tensor, moment: Moment) -> None:
        """Remember what these rows sampled, `[sum of num_sampled]` on the host when `moment` has come."""
        if not self._held:
            return
        first = 0
        for row in rows:
            held = self._held.get(row.seq_id)
            if held is not None:
                held.kept = _Kept(token_ids[first : first + row.num_sampled], moment)
            first += row.num_sampled
