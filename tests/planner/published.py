"""Figures that others have published of their engines, and what a plan says of the same.

Sources: NVIDIA's blog "Boost Llama 3.3 70B inference throughput 3x with TensorRT-LLM speculative decoding" (December
2024); TensorRT-LLM's performance overview; MLPerf Inference v5.1, summary_results.json; vLLM's blog of 2026-04-22 (FP8
KV); README of github.com/tanishqkumar/ssd.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from llama4coder.planner.candidate import Candidate, Wish
from llama4coder.planner.efficiency import Efficiency
from llama4coder.planner.fit import Fit
from llama4coder.planner.gpus import find_gpu
from llama4coder.planner.plan import replica_of, step_times
from llama4coder.planner.shapes import find_model
from llama4coder.planner.step_load import StepLoad
from llama4coder.planner.traffic import Work


@dataclass(frozen=True, slots=True)
class Setting:
    """What was run."""

    model: str
    gpu: str
    wish: Wish

    @property
    def candidate(self) -> Candidate:
        return Candidate.of(find_model(self.model), find_gpu(self.gpu), self.wish)


class Use(Enum):
    """What a point was used for. Before the shares were set, the errors of all points with `MEASURED` had been seen;
    they were then set once, and not fitted afterwards.
    """

    CHOSEN_BY = "a share was chosen by it"
    HELD_OUT = "not used for any share"


@dataclass(frozen=True, slots=True)
class Point:
    """One published figure."""

    name: str
    unit: str
    published: float
    use: Use
    predict: Callable[[Efficiency], float]


def step_ms(setting: Setting, num_rows: int, context: int) -> Callable[[Efficiency], float]:
    def predict(efficiency: Efficiency) -> float:
        times = step_times(setting.candidate, efficiency)
        return times.step(StepLoad.decoding(num_rows, num_rows * context)).total_s * 1e3

    return predict


def tokens_per_s(setting: Setting, context: int) -> Callable[[Efficiency], float]:
    """Of one sequence alone."""
    alone = step_ms(setting, 1, context)
    return lambda efficiency: 1e3 / alone(efficiency)


def most_tokens_per_s_per_gpu(setting: Setting, work: Work) -> Callable[[Efficiency], float]:
    """Of output, with as many requests as there is work for."""

    def predict(efficiency: Efficiency) -> float:
        replica = replica_of(Fit.of(setting.candidate), work, None, efficiency)
        return replica.max_rate_per_s * work.output_tokens / setting.wish.ranks

    return predict


def slope_ns(setting: Setting) -> Callable[[Efficiency], float]:
    """Nanoseconds of a step for each token that is read."""
    short, long = step_ms(setting, 1, 0), step_ms(setting, 1, 100_000)
    return lambda efficiency: (long(efficiency) - short(efficiency)) * 1e6 / 100_000


_FAST = Wish(max_sequences=1024, max_step_tokens=8192, max_draft_tokens=0, kv_format="fp8")
_ALONE = replace(_FAST, max_sequences=1, context_length=8192)
_BF16 = replace(_ALONE, kv_format="dense")
_H200 = Setting("llama-3.3-70b", "H200", replace(_FAST, ranks=2, quant="fp8"))
_H100 = replace(_H200, gpu="H100")
_B200 = Setting("llama-3.3-70b", "B200", replace(_FAST, quant="nf4"))  # stands for NVFP4
_MLPERF = Setting("llama-2-70b", "H200", replace(_FAST, quant="fp8"))
_8B = Setting("llama-3.1-8b", "H100", _BF16)
_8B_FP8_KV = replace(_8B, wish=replace(_BF16, kv_format="fp8"))
_ORCA = Work(294, 294)  # the mean of OpenOrca's prompts and answers
_USED, _UNSEEN = Use.CHOSEN_BY, Use.HELD_OUT


def _served(name: str, published: float, setting: Setting, work: Work, use: Use = _UNSEEN) -> Point:
    return Point(name, "tok/s/GPU", published, use, most_tokens_per_s_per_gpu(setting, work))


POINTS = (
    Point(
        "TensorRT-LLM 3.3-70B FP8, one H200, batch 1",
        *("tok/s", 51.1, _UNSEEN),
        tokens_per_s(Setting("llama-3.3-70b", "H200", replace(_ALONE, quant="fp8")), 500),
    ),
    _served("TensorRT-LLM 3.3-70B FP8 TP2 H200, 1k/1k", 2587, _H200, Work(1024, 1024), _USED),
    _served("TensorRT-LLM 3.3-70B FP8 TP2 H200, 8k/1k", 537, _H200, Work(8192, 1024)),
    _served("TensorRT-LLM 3.3-70B FP8 TP2 H200, 1k/8k", 2009, _H200, Work(1024, 8192)),
    _served("TensorRT-LLM 3.3-70B FP8 TP2 H200, 32k/1k", 120, _H200, Work(32768, 1024)),
    _served("TensorRT-LLM 3.3-70B FP8 TP2 H100, 1k/1k", 2209, _H100, Work(1024, 1024)),
    _served("TensorRT-LLM 3.3-70B FP8 TP2 H100, 8k/1k", 398, _H100, Work(8192, 1024)),
    _served("TensorRT-LLM 3.3-70B FP4 B200, 1k/1k", 6920, _B200, Work(1024, 1024)),
    _served("TensorRT-LLM 3.3-70B FP4 B200, 8k/1k", 1362, _B200, Work(8192, 1024)),
    _served("TensorRT-LLM 3.3-70B FP4 B200, 1k/8k", 3242, _B200, Work(1024, 8192)),
    _served("TensorRT-LLM 3.3-70B FP4 B200, 32k/1k", 274, _B200, Work(32768, 1024)),
    _served("MLPerf v5.1 Llama-2-70B H200, offline", 4415, _MLPERF, _ORCA),
    _served(
        "MLPerf v5.1 Llama-2-70B H100, offline",
        *(3902, replace(_MLPERF, gpu="H100", wish=replace(_FAST, ranks=2, quant="fp8")), _ORCA),
    ),
    _served(
        "MLPerf v5.1 Llama-2-70B B200 FP4, offline",
        *(12864, replace(_MLPERF, gpu="B200", wish=replace(_FAST, quant="nf4")), _ORCA),
    ),
    Point("vLLM 8B bfloat16 H100, step", "ms", 6.44, _UNSEEN, step_ms(_8B, 1, 0)),
    Point("vLLM 8B bfloat16 B200, step", "ms", 3.93, _UNSEEN, step_ms(replace(_8B, gpu="B200"), 1, 0)),
    Point("vLLM 8B bfloat16 H100, FP8 KV, step", "ms", 6.58, _UNSEEN, step_ms(_8B_FP8_KV, 1, 0)),
    Point("vLLM 8B H100, slope of bfloat16 KV", "ns/token", 43.7, _USED, slope_ns(_8B)),
    Point("vLLM 8B H100, slope of FP8 KV", "ns/token", 23.7, _USED, slope_ns(_8B_FP8_KV)),
    Point(
        "SSD's README 70B bfloat16 4 x H100, step",
        *("ms", 15.2, _UNSEEN),
        step_ms(Setting("llama-3.1-70b", "H100", replace(_BF16, ranks=4)), 1, 500),
    ),
)
