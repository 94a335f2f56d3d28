"""Our engine in process, driven step by step: `python -m tests.bench.workers.ours FOLDER DTYPE NUM_THREADS QUANT`."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from unittest.mock import patch

from torch import Tensor

from llama4coder.config import DeploymentConfig, EngineConfig, ModelConfig, SpeculationConfig
from llama4coder.engine.engine import Engine
from llama4coder.engine.loading_rank import load_runner
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.machine import detect_machine
from llama4coder.obs.stats import NullObserver, StepStats
from llama4coder.progress import NullProgress
from llama4coder.resolve import resolve
from llama4coder.resolved import ResolvedConfig
from llama4coder.sampling.sampler import Sampler, SamplingRow
from llama4coder.shape import read_shape
from llama4coder.spec.types import Speculation
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions
from tests.bench.workers.answers import Question
from tests.bench.workers.protocol import Measure, Task, serve

KV_BYTES = 2**30


class ModelTime(NullObserver):
    """Sums the time that steps spend in the rank: batch, model and sampler."""

    def __init__(self) -> None:
        self.total_s = 0.0

    def on_step(self, stats: StepStats) -> None:
        self.total_s += stats.model_time_s


class SamplerTime:
    """Sums the time in the sampler while it stands in for `Sampler.__call__`."""

    def __init__(self) -> None:
        self.total_s = 0.0
        self._sample = Sampler.__call__

    def sample(self, sampler: Sampler, logits: Tensor, rows: Sequence[SamplingRow]) -> Tensor:
        start_s = time.perf_counter()
        token_ids = self._sample(sampler, logits, rows)
        self.total_s += time.perf_counter() - start_s
        return token_ids


class Ours:
    def __init__(
        self,
        folder: Path,
        dtype: str,
        num_threads: int,
        quant: str,
        speculation: SpeculationConfig | None = None,
        speculate: Callable[[ResolvedConfig], Speculation] | None = None,
    ) -> None:
        config = DeploymentConfig(
            model=ModelConfig.model_validate({"dtype": dtype, "quant": quant, "context_length": 4096}),
            engine=EngineConfig(prefix_caching=False, kv_memory_bytes=KV_BYTES, num_threads=num_threads),
            speculation=speculation or SpeculationConfig(),
        )
        resolved = resolve(config, folder, read_shape(folder), detect_machine())
        runner = load_runner(resolved, NullProgress())
        self._model_time = ModelTime()
        guesses = speculate(resolved) if speculate is not None else None
        self._engine = Engine(resolved, LocalExecutor(runner.launch), self._model_time, guesses)
        self._num_requests = 0

    def measures(self) -> Mapping[str, Measure]:
        """Besides the speeds: which part of decoding's time is not the rank's, and which is the sampler's."""
        return {
            "decode": self._decode_tokens_per_s,
            "prefill": self._prefill_tokens_per_s,
            "engine_share": self._engine_share,
            "sampler_share": self._sampler_share,
        }

    def answers(self, questions: list[Question]) -> list[list[int]]:
        """Greedy answers, all at once."""
        outputs: list[list[int]] = [[] for _ in questions]
        for index, question in enumerate(questions):
            stop = StopConditions(question.max_tokens, stop_token_ids=frozenset(question.stop_ids))
            self._engine.add(
                GenerateRequest(str(index), tuple(question.prompt), SamplingParams(temperature=0.0), stop, seed=0)
            )
        while self._engine.has_work:
            for event in self._engine.step():
                outputs[int(event.request_id)] += event.token_ids
        return outputs

    def _decode_tokens_per_s(self, task: Task) -> float:
        self._prefill(task)
        start_s, num_tokens = time.perf_counter(), 0
        while self._engine.has_work:
            num_tokens += sum(len(event.token_ids) for event in self._engine.step())
        return num_tokens / (time.perf_counter() - start_s)

    def _prefill_tokens_per_s(self, task: Task) -> float:
        self._add(task)
        start_s = time.perf_counter()
        self._finish()
        return sum(map(len, task.prompts)) / (time.perf_counter() - start_s)

    def _engine_share(self, task: Task) -> float:
        self._prefill(task)
        start_s, model_s = time.perf_counter(), self._model_time.total_s
        self._finish()
        return 1 - (self._model_time.total_s - model_s) / (time.perf_counter() - start_s)

    def _sampler_share(self, task: Task) -> float:
        self._prefill(task)
        timed = SamplerTime()
        start_s = time.perf_counter()
        with patch.object(Sampler, "__call__", lambda *arguments: timed.sample(*arguments)):
            self._finish()
        return timed.total_s / (time.perf_counter() - start_s)

    def _prefill(self, task: Task) -> None:
        """Run until the last of the sequences has its first token."""
        self._add(task)
        while len(self._engine.step()) < len(task.prompts):
            pass

    def _finish(self) -> None:
        while self._engine.has_work:
            self._engine.step()

    def _add(self, task: Task) -> None:
        for prompt in task.prompts:
            self._num_requests += 1
            sampling, stop = SamplingParams(temperature=task.temperature), StopConditions(task.num_output_tokens)
            seed = self._num_requests
            self._engine.add(GenerateRequest(str(self._num_requests), tuple(prompt), sampling, stop, seed))


if __name__ == "__main__":
    serve(lambda: Ours(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]).measures())
