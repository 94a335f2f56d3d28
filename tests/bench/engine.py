"""Decode and prefill speed of the engine beside transformers on the same weights, in one interleaved run.

    .venv/bin/python -m tests.bench.engine [--dtype bfloat16] [--rounds 3] [--model PATH]

Decode: sequences with 32-token prompts generate greedily; the prefill is not counted. Prefill: one prompt, until its
first token. The floor is what reading the weights once per step would allow at the measured memory bandwidth.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.config import DeploymentConfig, DType, EngineConfig, ModelConfig
from llama4coder.engine.engine import Engine
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.engine.runner import ModelRunner
from llama4coder.env import cache_dir
from llama4coder.kv.sizing import weight_bytes
from llama4coder.machine import detect_machine
from llama4coder.obs.stats import NullObserver
from llama4coder.progress import NullProgress
from llama4coder.resolve import resolve
from llama4coder.shape import ModelShape, read_shape
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions
from tests.bench.measure import describe_machine, interleaved, markdown_table, read_bandwidth_bytes_per_s

BATCH_SIZES = (1, 8, 32)
NUM_PROMPT_TOKENS = 32
NUM_OUTPUT_TOKENS = 48
NUM_PREFILL_TOKENS = 2048


class OurEngine:
    """The engine in process, driven step by step."""

    def __init__(self, folder: Path, dtype: DType) -> None:
        config = DeploymentConfig(
            model=ModelConfig(dtype=dtype), engine=EngineConfig(prefix_caching=False, kv_memory_bytes=2**30)
        )
        resolved = resolve(config, folder, read_shape(folder), detect_machine())
        self._engine = Engine(
            resolved, LocalExecutor(ModelRunner.load(resolved, NullProgress()).execute), NullObserver()
        )
        self._num_requests = 0

    def decode_tokens_per_s(self, prompts: torch.Tensor) -> float:
        self._add(prompts, NUM_OUTPUT_TOKENS)
        while len(self._engine.step()) < len(prompts):
            pass  # until the last of them has its first token
        start_s = time.perf_counter()
        num_tokens = 0
        while self._engine.has_work:
            num_tokens += sum(len(event.token_ids) for event in self._engine.step())
        return num_tokens / (time.perf_counter() - start_s)

    def prefill_tokens_per_s(self, prompts: torch.Tensor) -> float:
        self._add(prompts, 1)
        start_s = time.perf_counter()
        while self._engine.has_work:
            self._engine.step()
        return prompts.numel() / (time.perf_counter() - start_s)

    def close(self) -> None:
        self._engine.close()

    def _add(self, prompts: torch.Tensor, num_output_tokens: int) -> None:
        for prompt in prompts.tolist():
            self._num_requests += 1
            sampling, stop = SamplingParams(temperature=0.0), StopConditions(num_output_tokens)
            self._engine.add(GenerateRequest(str(self._num_requests), tuple(prompt), sampling, stop, seed=0))


class Transformers:
    """transformers' own generate, one static batch."""

    def __init__(self, folder: Path, dtype: DType) -> None:
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()

    def decode_tokens_per_s(self, prompts: torch.Tensor) -> float:
        prefill_s = self._generate_s(prompts, 1)
        return len(prompts) * (NUM_OUTPUT_TOKENS - 1) / (self._generate_s(prompts, NUM_OUTPUT_TOKENS) - prefill_s)

    def prefill_tokens_per_s(self, prompts: torch.Tensor) -> float:
        return prompts.numel() / self._generate_s(prompts, 1)

    def _generate_s(self, prompts: torch.Tensor, num_tokens: int) -> float:
        start_s = time.perf_counter()
        with torch.inference_mode():
            self._model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                max_new_tokens=num_tokens,
                min_new_tokens=num_tokens,
                do_sample=False,
                pad_token_id=0,
            )
        return time.perf_counter() - start_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    folder = find_checkpoint(options.model, cache_dir(), NullProgress())
    ours, peer = OurEngine(folder, options.dtype), Transformers(folder, options.dtype)
    shape = read_shape(folder)
    generator = torch.Generator().manual_seed(0)

    def compare(measure: str, num_rows: int, num_tokens: int) -> dict[str, float]:
        prompts = torch.randint(1000, shape.vocab_size - 1000, (num_rows, num_tokens), generator=generator)
        calls: dict[str, Callable[[], float]] = {
            name: (lambda engine=engine: getattr(engine, measure)(prompts))
            for name, engine in (("ours", ours), ("transformers", peer))
        }
        return interleaved(calls, options.rounds)

    compare("decode_tokens_per_s", 1, NUM_PROMPT_TOKENS)  # warm-up
    rows = []
    for batch_size in BATCH_SIZES:
        rows.append(_row(f"decode, batch {batch_size}", compare("decode_tokens_per_s", batch_size, NUM_PROMPT_TOKENS)))
    rows.append(_row(f"prefill, {NUM_PREFILL_TOKENS}", compare("prefill_tokens_per_s", 1, NUM_PREFILL_TOKENS)))
    ours.close()
    print(f"{folder.name}, {options.dtype}, {describe_machine()}")
    print(_floor(shape, options.dtype))
    print(markdown_table(["tokens/s", "ours", "transformers", "ratio"], rows))


def _row(name: str, medians: dict[str, float]) -> list[str]:
    ours, peer = medians["ours"], medians["transformers"]
    return [name, f"{ours:.1f}", f"{peer:.1f}", f"{ours / peer:.2f}"]


def _floor(shape: ModelShape, dtype: DType) -> str:
    bandwidth = read_bandwidth_bytes_per_s()
    num_bytes = weight_bytes(shape, dtype)
    return (
        f"floor at batch 1: {bandwidth / num_bytes:.0f} tokens/s "
        f"({num_bytes / 2**20:.0f} MiB of weights at {bandwidth / 1e9:.1f} GB/s)"
    )


if __name__ == "__main__":
    main()
