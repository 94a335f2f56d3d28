"""The readiness probe: the smallest request that goes through every layer of every rank."""

import uuid

from llama4coder.types import GenerateRequest, SamplingParams, StopConditions


def probe_request() -> GenerateRequest:
    """One prompt token, one greedy output token."""
    return GenerateRequest(
        request_id=f"probe-{uuid.uuid4().hex}",
        prompt_token_ids=(0,),
        sampling=SamplingParams(temperature=0.0),
        stop=StopConditions(max_tokens=1),
        seed=0,
    )
