"""Parts of a model that several ranks compute together; to the model they look like any other part."""

from dataclasses import dataclass

from torch import Tensor

from llama4coder.layers.linear import Head, Linear
from llama4coder.parallel.comm import Communicator


@dataclass(frozen=True, slots=True)
class SummedLinear:
    """Implements `layers.linear.Linear` over a split of the input features: the ranks' products are summed.

    One rank alone adds the residual stream, and holds the bias if there is one.
    """

    part: Linear
    comm: Communicator

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """See `Linear.__call__`; `x` `[num_tokens, this rank's in_features]`."""
        return self.comm.sum(self.part(x, residual if self.comm.index == 0 else None))


@dataclass(frozen=True, slots=True)
class VocabularyEmbedding:
    """Token ids to `[num_tokens, hidden_size]`, each row from the rank that holds it."""

    part: Head  # whose `rows` are those of this rank's token ids
    vocabulary: slice
    comm: Communicator

    def __call__(self, token_ids: Tensor) -> Tensor:
        local = token_ids - self.vocabulary.start
        mine = (local >= 0) & (local < self.vocabulary.stop - self.vocabulary.start)
        rows = self.part.rows(local.where(mine, 0))
        return self.comm.sum(rows * mine.unsqueeze(1))
