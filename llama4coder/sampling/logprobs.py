"""Log-probabilities for the client: of the model's raw distribution, before temperature and penalties."""

from collections.abc import Sequence

from torch import Tensor

from llama4coder.types import PositionLogprobs, TokenLogprob


def position_logprobs(logits: Tensor, chosen: Sequence[int], num_top: int) -> tuple[PositionLogprobs, ...]:
    """For each row of `logits` `[num_rows, vocab_size]` the chosen token's value and the `num_top` best."""
    logprobs = logits.log_softmax(-1)
    best = logprobs.topk(num_top, dim=-1)
    best_ids, best_values = best.indices.tolist(), best.values.tolist()
    return tuple(
        PositionLogprobs(
            chosen=TokenLogprob(token_id, float(logprobs[row, token_id])),
            top=tuple(TokenLogprob(*pair) for pair in zip(best_ids[row], best_values[row], strict=True)),
        )
        for row, token_id in enumerate(chosen)
    )
