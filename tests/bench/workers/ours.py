"""Our engine in process, driven step by step: `python -m tests.bench.workers.ours FOLDER DTYPE`."""

import sys
import time
from pathlib import Path

from llama4coder.config import DeploymentConfig, EngineConfig, ModelConfig
from llama4coder.engine.engine import Engine
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.engine.runner import ModelRunner
from llama4coder.machine import detect_machine
from llama4coder.obs.stats import NullObserver
from llama4coder.progress import NullProgress
from llama4coder.resolve import resolve
from llama4coder.shape import read_shape
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions
from tests.bench.workers.protocol import Task, serve

KV_BYTES = 2**30


class Ours:
    def __init__(self, folder: Path, dtype: str) -> None:
        config = DeploymentConfig(
            model=ModelConfig.model_validate({"dtype": dtype, "context_length": 4096}),
            engine=EngineConfig(prefix_caching=False, kv_memory_bytes=KV_BYTES),
        )
        resolved = resolve(config, folder, read_shape(folder), detect_machine())
        runner = ModelRunner.load(resolved, NullProgress())
        self._engine = Engine(resolved, LocalExecutor(runner.execute), NullObserver())
        self._num_requests = 0

    def decode_tokens_per_s(self, task: Task) -> float:
        self._add(task)
        while len(self._engine.step()) < len(task.prompts):
            pass  # until the last of them has its first token
        start_s, num_tokens = time.perf_counter(), 0
        while self._engine.has_work:
            num_tokens += sum(len(event.token_ids) for event in self._engine.step())
        return num_tokens / (time.perf_counter() - start_s)

    def prefill_tokens_per_s(self, task: Task) -> float:
        self._add(task)
        start_s = time.perf_counter()
        while self._engine.has_work:
            self._engine.step()
        return sum(map(len, task.prompts)) / (time.perf_counter() - start_s)

    def _add(self, task: Task) -> None:
        for prompt in task.prompts:
            self._num_requests += 1
            sampling, stop = SamplingParams(temperature=0.0), StopConditions(task.num_output_tokens)
            self._engine.add(GenerateRequest(str(self._num_requests), tuple(prompt), sampling, stop, seed=0))


if __name__ == "__main__":
    serve(lambda: Ours(Path(sys.argv[1]), sys.argv[2]))
