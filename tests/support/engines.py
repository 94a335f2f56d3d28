"""Engines for tests, in process, over any checkpoint folder."""

from dataclasses import replace
from pathlib import Path

from llama4coder.checkpoint.stored_quant import read_stored_quant
from llama4coder.config import Auto, DeploymentConfig, DType, EngineConfig, ModelConfig, QuantFormat
from llama4coder.engine.engine import Engine
from llama4coder.engine.loading_rank import load_runner
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.kv.sizing import kv_bytes_per_block
from llama4coder.machine import Machine
from llama4coder.obs.stats import NullObserver
from llama4coder.parallel.plan import RankPlan
from llama4coder.progress import NullProgress
from llama4coder.resolve import resolve
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import read_shape
from llama4coder.types import (
    FinishReason,
    GenerateRequest,
    PositionLogprobs,
    SamplingParams,
    StopConditions,
    TokenEvent,
)

MACHINE = Machine("cpu", 8 * 2**30, num_cpus=1, computes_bfloat16=False)


def resolved(
    folder: Path,
    *,
    num_blocks: int | None = None,
    context_length: int | str = "auto",
    dtype: DType = "float32",
    quant: QuantFormat | Auto = "auto",
    quant_exclude: tuple[str, ...] = (),
    **engine: object,
) -> ResolvedConfig:
    """A configuration with an exact number of KV blocks."""
    shape = read_shape(folder)
    if num_blocks is not None:
        bounded, kv_format = engine.get("block_bounds", False), engine.get("kv_format", "dense")
        block_bytes = kv_bytes_per_block(RankPlan.alone(shape), dtype, kv_format, block_bounds=bounded)
        engine["kv_memory_bytes"] = num_blocks * block_bytes
    config = DeploymentConfig(
        model=ModelConfig(
            path=str(folder), dtype=dtype, context_length=context_length, quant=quant, quant_exclude=quant_exclude
        ),
        engine=EngineConfig(**engine),
    )
    machine = replace(MACHINE, device=engine.get("device", "cpu"))
    return resolve(config, folder, shape, machine, read_stored_quant(folder))


def build_engine(config: ResolvedConfig) -> Engine:
    return Engine(config, LocalExecutor(load_runner(config, NullProgress()).launch), NullObserver())


def expect_short_outputs(engine: Engine) -> None:
    """Let it reserve next to nothing for outputs, so that they outgrow it and preempt each other."""
    for _ in range(100):
        engine.scheduler.output_lengths.observe(1, is_cut=False)


def greedy_request(request_id: str, prompt: list[int], max_tokens: int) -> GenerateRequest:
    return GenerateRequest(
        request_id, tuple(prompt), SamplingParams(temperature=0.0), StopConditions(max_tokens), seed=0
    )


class Collected:
    """Everything one request received, from the token at `offset` on."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.token_ids: list[int] = []
        self.logprobs: list[PositionLogprobs] = []
        self.prompt_logprobs: tuple[PositionLogprobs | None, ...] = ()
        self.finish_reason: FinishReason | None = None
        self.num_cached_tokens = 0

    def add(self, event: TokenEvent) -> None:
        assert self.finish_reason is None, "an event after the last"
        assert event.offset == self.offset + len(self.token_ids), "a hole in the stream"
        self.token_ids.extend(event.token_ids)
        self.logprobs.extend(event.logprobs)
        self.prompt_logprobs = self.prompt_logprobs or event.prompt_logprobs
        self.num_cached_tokens = self.num_cached_tokens or event.num_cached_tokens
        self.finish_reason = event.finish_reason


def run_all(engine: Engine, requests: list[GenerateRequest]) -> dict[str, Collected]:
    """Add all requests, step until nothing is left, and check that no block leaked."""
    collected = {request.request_id: Collected(len(request.output_token_ids)) for request in requests}
    for request in requests:
        engine.check_fits(request)
        engine.add(request)
    while engine.has_work:
        for event in engine.step():
            collected[event.request_id].add(event)
        engine.check_integrity()
    return collected
