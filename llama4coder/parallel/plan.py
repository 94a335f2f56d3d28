"""Which rank holds which part of which weight: the whole of tensor parallelism's knowledge of the model, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from llama4coder.parallel.layout import ParallelLayout, Part
from llama4coder.shape import ModelShape

VOCABULARY_STEP = 64  # token ids that are drawn together: a rank's share begins where they begin


class Split(Enum):
    """How the ranks divide a weight `[out_features, in_features]`."""

    WHOLE = "every rank has all of it"
    ROWS = "output features, over all ranks"
    VOCABULARY = "token ids, over all ranks"
    COLUMNS = "input features, over all ranks"
    QUERY_ROWS = "output features, by query heads"
    KV_ROWS = "output features, by KV heads"
    ATTENDED_COLUMNS = "input features: by query heads, then over the ranks that hold the same heads"


# By the last part of a tensor's name without `.weight` or `.bias`; what is not listed is held whole.
SPLITS: Mapping[str, Split] = {
    "embed_tokens": Split.VOCABULARY,
    "lm_head": Split.VOCABULARY,
    "q_proj": Split.QUERY_ROWS,
    "k_proj": Split.KV_ROWS,
    "v_proj": Split.KV_ROWS,
    "o_proj": Split.ATTENDED_COLUMNS,
    "gate_proj": Split.ROWS,
    "up_proj": Split.ROWS,
    "down_proj": Split.COLUMNS,
}


@dataclass(frozen=True, slots=True)
class TensorSlice:
    """What one rank reads of a tensor: a range of its first and of its last axis."""

    rows: slice
    columns: slice | None = None  # None for vectors

    @property
    def size(self) -> tuple[int, ...]:
        rows = self.rows.stop - self.rows.start
        return (rows,) if self.columns is None else (rows, self.columns.stop - self.columns.start)


@dataclass(frozen=True, slots=True)
class RankPlan:
    """One rank's share of a model."""

    shape: ModelShape
    layout: ParallelLayout
    rank: int

    @classmethod
    def alone(cls, shape: ModelShape) -> "RankPlan":
        """That of a replica with one rank."""
        return cls(shape, ParallelLayout(), 0)

    @property
    def num_heads(self) -> int:
        return self.shape.num_heads // self.layout.heads_shards

    @property
    def num_kv_heads(self) -> int:
        return self.shape.num_kv_heads // self.layout.heads_shards

    @property
    def vocabulary(self) -> slice:
        """The token ids whose logits and embeddings are this rank's."""
        steps = self.layout.rank_part(self.rank).of(-(-self.shape.vocab_size // VOCABULARY_STEP))
        last = self.shape.vocab_size
        return slice(min(steps.start * VOCABULARY_STEP, last), min(steps.stop * VOCABULARY_STEP, last))

    @property
    def attended(self) -> slice:
        """Of the features that attention gives for this rank's heads, those that its `o_proj` takes."""
        return self.layout.kv_part(self.rank).of(self.num_heads * self.shape.head_dim)

    def slice_of(self, name: str, size: tuple[int, ...]) -> TensorSlice:
        """This rank's part of the tensor `name` of `size`: one or two axes.

        The bias of a product whose input features are split belongs to one rank alone: see `holds_bias`.
        """
        split = SPLITS.get(name.rpartition(".")[0].rpartition(".")[2], Split.WHOLE)
        rows = self.vocabulary if split is Split.VOCABULARY else self._rows(split).of(size[0])
        if len(size) == 1:
            return TensorSlice(rows)
        return TensorSlice(rows, self._columns(split, size[1]))

    @property
    def holds_bias(self) -> bool:
        """Whether this rank adds the biases of products that are summed over ranks, and the residual stream."""
        return self.rank == 0

    def _rows(self, split: Split) -> Part:
        if split is Split.ROWS:
            return self.layout.rank_part(self.rank)
        if split in (Split.QUERY_ROWS, Split.KV_ROWS):
            return self.layout.heads_part(self.rank)
        return Part(0, 1)

    def _columns(self, split: Split, size: int) -> slice:
        if split is Split.COLUMNS:
            return self.layout.rank_part(self.rank).of(size)
        if split is Split.ATTENDED_COLUMNS:
            first = self.layout.heads_part(self.rank).of(size).start
            return slice(first + self.attended.start, first + self.attended.stop)
        return slice(0, size)
