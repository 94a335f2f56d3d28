"""Draft models for tests, and the target's choice computed from scratch."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from llama4coder.progress import NullProgress
from llama4coder.resolved import ResolvedDraft
from llama4coder.sampling.noise import NoiseKey, gumbel_noise
from llama4coder.spec.draft_model import DraftModel
from llama4coder.spec.ranking import Ranking
from llama4coder.types import SamplingParams
from tests.support.models import TINY


def load_draft(folder: Path, *, num_blocks: int = 64, window_tokens: int = 256, num_ranked: int = 4) -> DraftModel:
    """A float32 model with so many KV blocks; tokens are ranked among all of the vocabulary."""
    config = ResolvedDraft(
        path=str(folder),
        dtype="float32",
        quant="none",
        quant_exclude=(),
        device="cpu",
        window_tokens=window_tokens,
        num_blocks=num_blocks,
        weight_bytes=0,
        kv_bytes=0,
        num_threads=1,
    )
    return DraftModel.load(config, Ranking(num_ranked, num_perturbed=TINY["vocab_size"]), NullProgress())


class Reference:
    """What a model chooses, by transformers and the definition of sampling."""

    def __init__(self, model: LlamaForCausalLM, sampling: SamplingParams, seed: int) -> None:
        self._model = model
        self._sampling = sampling
        self._seed = seed

    def ranked(self, token_ids: Sequence[int], position: int | None = None) -> list[int]:
        """All tokens that may follow these, likeliest first; `position` is theirs if these are not the whole."""
        with torch.no_grad():
            scores = self._model(torch.tensor([list(token_ids)])).logits[0, -1]
        if self._sampling.temperature:
            key = NoiseKey(self._seed, len(token_ids) if position is None else position)
            scores = scores / self._sampling.temperature + gumbel_noise([key], len(scores))[0]
        return [int(token_id) for token_id in scores.argsort(descending=True)]

    def continue_(self, token_ids: Sequence[int], num_tokens: int) -> list[int]:
        """The tokens that follow these, chosen one after the other."""
        known = list(token_ids)
        for _ in range(num_tokens):
            known.append(self.ranked(known)[0])
        return known[len(token_ids) :]
