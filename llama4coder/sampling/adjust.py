"""What changes logits before temperature: penalties, biases, and tokens that may not come yet."""

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor

from llama4coder.types import SamplingParams


def has_penalties(params: SamplingParams) -> bool:
    """Whether a row needs its tokens counted."""
    return bool(params.presence_penalty or params.frequency_penalty or params.repetition_penalty != 1.0)


class TokenCounts:
    """How often each token occurred in one sequence, kept only for rows with penalties."""

    def __init__(self, prompt: Sequence[int], output: Sequence[int], vocab_size: int, device: torch.device) -> None:
        self._in_prompt = torch.zeros(vocab_size, dtype=torch.bool, device=device)
        self._in_prompt[list(prompt)] = True
        self._output = torch.zeros(vocab_size, device=device)
        self.add(torch.tensor(output, dtype=torch.int64, device=device))

    def add(self, token_ids: Tensor) -> None:
        """Count generated tokens `[num_tokens]`, int64, without waiting for them."""
        self._output.index_add_(0, token_ids, torch.ones_like(token_ids, dtype=self._output.dtype))

    def plus(self, token_ids: Sequence[int]) -> "TokenCounts":
        """A copy that has counted more generated tokens."""
        more = copy(self)
        more._output = self._output.clone()
        more.add(torch.tensor(token_ids, dtype=torch.int64, device=self._output.device))
        return more

    def penalise(self, logits: Tensor, params: SamplingParams, share: slice) -> None:
        """Change one row's logits of the token ids `share` in place.

        Repetition divides (multiplies, below zero) the logits of tokens seen in prompt or output (arXiv 1909.05858);
        frequency and presence subtract for generated tokens only, as OpenAI defines them.
        """
        output = self._output[share]
        if params.repetition_penalty != 1.0:
            seen = self._in_prompt[share] | (output > 0)
            penalised = torch.where(logits > 0, logits / params.repetition_penalty, logits * params.repetition_penalty)
            torch.where(seen, penalised, logits, out=logits)
        logits -= params.frequency_penalty * output
        logits -= params.presence_penalty * (output > 0)


def add_bias(logits: Tensor, params: SamplingParams, share: slice) -> None:
    """Add `logit_bias` to one row's logits of the token ids `share`, in place."""
    for token_id, bias in params.logit_bias.items():
        if share.start <= token_id < share.stop:
            logits[token_id - share.start] += bias


def forbid(logits: Tensor, token_ids: Sequence[int], share: slice) -> None:
    """Make tokens of one row impossible; its logits are those of the token ids `share`."""
    logits[[token_id - share.start for token_id in token_ids if share.start <= token_id < share.stop]] = -torch.inf
