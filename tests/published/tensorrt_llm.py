"""How TensorRT-LLM's performance overview was measured, and points of its tables.

Source: docs/source/**/perf-overview.md of github.com/NVIDIA/TensorRT-LLM at several versions. Requests are all alike,
and queued at once: 30,000 of 128/128, 3,000 of other short ones, 1,500 and 1,000 of long ones. KV is FP8 where weights
are. "1.2" has no version in its text: it is the one under docs/source/developer-guide.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from llama4coder.config import QuantFormat
from llama4coder.planner.candidate import Wish
from llama4coder.planner.efficiency import OTHER_ENGINES, UNFUSED_ENGINES, Efficiency
from llama4coder.planner.gpus import find_gpu
from llama4coder.planner.traffic import Work
from tests.published.point import Point, Setting, Use
from tests.published.run import Run

_GRAPH_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 384, 512, 1024, 2048, 4096, 8192)  # of its llm_options.yml
_PARAMETERS: Mapping[str, float] = MappingProxyType({"70B": 70.55e9, "8B": 8.03e9})
_WEIGHT_BYTES: Mapping[str, float] = MappingProxyType({"none": 2.0, "fp8": 1.0, "nf4": 0.5})
_KV_TOKEN_BYTES: Mapping[str, int] = MappingProxyType({"70B": 163_840, "8B": 65_536})  # in FP8
_FORMS: Mapping[str, str] = MappingProxyType({"none": "FP16", "fp8": "FP8", "nf4": "FP4"})  # nf4 stands for NVFP4


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a step."""

    max_batch: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Column:
    """Of a table: one model on one kind of GPU."""

    version: str
    model: str  # "8B" or "70B"
    gpu: str
    ranks: int
    quant: QuantFormat
    limits: Limits | None = None  # of an engine that was built, without graphs; None: by `bench_limits`, with PyTorch

    @property
    def name(self) -> str:
        return f"TensorRT-LLM {self.version} {self.model} {_FORMS[self.quant]} {self.ranks} x {self.gpu}"

    @property
    def efficiency(self) -> Efficiency:
        return UNFUSED_ENGINES if self.limits is None else OTHER_ENGINES

    def run(self, work: Work) -> Run:
        limits = self.limits or self.bench_limits(work)
        graph_rows = [*(rows for rows in _GRAPH_ROWS if rows < limits.max_batch), limits.max_batch]
        wish = Wish(
            ranks=self.ranks,
            quant=self.quant,
            kv_format="dense" if self.quant == "none" else "fp8",
            context_length=work.total_tokens,
            max_sequences=limits.max_batch,
            max_step_tokens=max(limits.max_tokens, limits.max_batch),
            max_draft_tokens=0,
        )
        setting = Setting(f"llama-3.1-{self.model.lower()}", self.gpu, wish)
        return Run(setting, work, graph_rows=() if self.limits else graph_rows)

    def bench_limits(self, work: Work) -> Limits:
        """By tensorrt_llm/bench/build/tuning.py: a batch that memory holds, and as many tokens as keep it full."""
        left = find_gpu(self.gpu).memory_bytes * self.ranks - _PARAMETERS[self.model] * _WEIGHT_BYTES[self.quant]
        rows = min(0.95 * left / (_KV_TOKEN_BYTES[self.model] * work.total_tokens), 4096)
        tokens = min(rows * (1 + work.prompt_tokens / work.output_tokens), 32768)
        row_step = 32 if rows < 256 else 128 if rows < 1024 else 256
        token_step = 256 if tokens < 4096 else 512 if tokens < 8192 else 1024
        return Limits(max(64, _up(rows, row_step)), max(2048, _up(tokens, token_step)))

    def points(self, lengths: Sequence[tuple[int, int]], tokens_per_s: Sequence[float]) -> Iterator[Point]:
        """Of lengths of prompts and outputs; tables tell tokens/s of all ranks. 0: not measured."""
        for (prompt, output), published in zip(lengths, tokens_per_s, strict=True):
            if published:
                predict = self.run(Work(prompt, output)).tokens_per_s_per_gpu
                name = f"{self.name}, {prompt}/{output}"
                yield Point(name, "tok/s/GPU", published / self.ranks, Use.HELD_OUT, predict, self.efficiency)


def _up(number: float, step: int) -> int:
    return step * math.ceil(number / step)
