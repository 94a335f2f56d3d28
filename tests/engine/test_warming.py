"""A prompt without any output is computed and cached, so that a later one with the same beginning need not be."""

from pathlib import Path

import torch

from llama4coder.types import FinishReason, GenerateRequest, SamplingParams, StopConditions
from tests.support.engines import build_engine, greedy_request, resolved, run_all
from tests.support.models import write_tiny_llama


def test_a_prompt_may_be_cached_without_generating(tmp_path: Path) -> None:
    write_tiny_llama(tmp_path)
    engine = build_engine(resolved(tmp_path, num_blocks=64))
    ids = torch.randint(0, 512, (50,), generator=torch.Generator().manual_seed(1)).tolist()
    warming = GenerateRequest("warming", tuple(ids), SamplingParams(temperature=0.0), StopConditions(0), 0)
    result = run_all(engine, [warming])["warming"]
    assert (result.token_ids, result.finish_reason) == ([], FinishReason.LENGTH)
    later = run_all(engine, [greedy_request("later", [*ids, 1, 2, 3], 4)])["later"]
    assert later.num_cached_tokens == 48
