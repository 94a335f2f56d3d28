"""What changes logits before temperature: penalties, biases, and tokens that may not come yet."""

from collections.abc import Sequence

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
        for token_id in output:
            self.add(token_id)

    def add(self, token_id: int) -> None:
        """Count one generated token."""
        self._output[token_id] += 1

    def penalise(self, logits: Tensor, params: SamplingParams) -> None:
        """Change one row `[vocab_size]` in place.

        Repetition divides (multiplies, below zero) the logits of tokens seen in prompt or output (arXiv 1909.05858);
        frequency and presence subtract for generated tokens only, as OpenAI defines them.
        """
        if params.repetition_penalty != 1.0:
            seen = self._in_prompt | (self._output > 0)
            penalised = torch.where(logits > 0, logits / params.repetition_penalty, logits * params.repetition_penalty)
            torch.where(seen, penalised, logits, out=logits)
        logits -= params.frequency_penalty * self._output
        logits -= params.presence_penalty * (self._output > 0)


def add_bias(logits: Tensor, params: SamplingParams) -> None:
    """Add `logit_bias` to one row in place."""
    for token_id, bias in params.logit_bias.items():
        logits[token_id] += bias


def forbid(logits: Tensor, token_ids: Sequence[int]) -> None:
    """Make tokens of one row impossible, in place."""
    logits[list(token_ids)] = -torch.inf
