"""Steps of single sequences, and what reading keys and values adds to them.

Sources: NVIDIA's blog "Boost Llama 3.3 70B inference throughput 3x with TensorRT-LLM speculative decoding" (December
2024); vLLM's blog of 2026-04-22 (FP8 KV); README of github.com/tanishqkumar/ssd.
"""

from dataclasses import replace

from llama4coder.planner.candidate import Wish
from tests.published.point import Point, Setting, Use, slope_ns, step_ms, tokens_per_s

_FP8_KV = Wish(max_sequences=1, max_step_tokens=8192, max_draft_tokens=0, kv_format="fp8", context_length=8192)
_BF16 = replace(_FP8_KV, kv_format="dense")
_8B = Setting("llama-3.1-8b", "H100", _BF16)
_8B_FP8_KV = replace(_8B, wish=_FP8_KV)
_USED, _UNSEEN = Use.CHOSEN_BY, Use.HELD_OUT

SINGLE = (
    Point(
        "TensorRT-LLM 3.3-70B FP8, one H200, batch 1",
        *("tok/s", 51.1, _UNSEEN),
        tokens_per_s(Setting("llama-3.3-70b", "H200", replace(_FP8_KV, quant="fp8")), 500),
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
