"""For peers whose only door is one call per batch: the prefill is timed apart and taken off."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping

from tests.bench.workers.protocol import Measure, Task


class StaticBatch(ABC):
    """Give `generate`, which runs a batch greedily to exactly so many new tokens per prompt."""

    @abstractmethod
    def generate(self, prompts: list[list[int]], num_tokens: int) -> None: ...

    def measures(self) -> Mapping[str, Measure]:
        return {"decode": self._decode_tokens_per_s, "prefill": self._prefill_tokens_per_s}

    def _decode_tokens_per_s(self, task: Task) -> float:
        prefill_s = self._seconds(task, 1)
        decode_s = self._seconds(task, task.num_output_tokens) - prefill_s
        return len(task.prompts) * (task.num_output_tokens - 1) / decode_s

    def _prefill_tokens_per_s(self, task: Task) -> float:
        return sum(map(len, task.prompts)) / self._seconds(task, 1)

    def _seconds(self, task: Task, num_tokens: int) -> float:
        start_s = time.perf_counter()
        self.generate(task.prompts, num_tokens)
        return time.perf_counter() - start_s
