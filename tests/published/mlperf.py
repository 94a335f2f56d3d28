"""MLPerf Inference, Llama-2-70B, offline, closed: as many requests of OpenOrca as there is work for.

Sources: github.com/mlcommons/inference_results_v5.1 and v4.1: results in mlperf_log_summary.txt (tokens per second and
per sample); batches, tokens of a step, tensor and pipeline parallelism in the submitters' configs/**/llama2-70b. All
keep FP8 KV, reserve no blocks ahead (`max_util`), mix prompts in chunks with decoding, and use no CUDA graphs. v5.1 on
H100 (Cisco, four nodes) is PP2, 1,024 sequences and 1,024 tokens; v4.1 was TP2 with 896. Prompts of the set have 222
tokens on average (48 to 1,021; github.com/openshift-psap/performance-dashboard, mlperf-data/summaries), answers of a
B200 273 and of the others 290 to 293, of up to 1,024.
"""

from llama4coder.planner.candidate import Wish
from llama4coder.planner.traffic import Work
from tests.published.point import Point, Setting, Use
from tests.published.run import Run

_PROMPT = 222


def _point(name: str, published: float, run: Run) -> Point:
    return Point(f"MLPerf {name}, offline", "tok/s/GPU", published, Use.HELD_OUT, run.tokens_per_s_per_gpu)


def _run(gpu: str, max_batch: int, max_tokens: int, work: Work, ranks: int = 1, stages: int = 1) -> Run:
    wish = Wish(
        ranks=ranks,
        quant="nf4" if gpu == "B200" else "fp8",  # nf4 stands for NVFP4
        kv_format="fp8",
        context_length=2048,
        max_sequences=max_batch,
        max_step_tokens=max_tokens,
        max_draft_tokens=0,
    )
    return Run(Setting("llama-2-70b", gpu, wish), work, stages=stages, reserves=False)


MLPERF = (
    # Its batch is 2,048: more than the tokens of a step, and than fit.
    _point("v5.1 Llama-2-70B H200", 4415, _run("H200", 1536, 1536, Work(_PROMPT, 293))),
    _point("v5.1 Llama-2-70B H100 PP2", 3902, _run("H100", 1024, 1024, Work(_PROMPT, 293), stages=2)),
    _point("v5.1 Llama-2-70B B200 FP4", 12864, _run("B200", 2048, 3584, Work(_PROMPT, 273))),
    _point("v4.1 Llama-2-70B H200", 3913, _run("H200", 806, 4096, Work(_PROMPT, 291))),
    _point("v4.1 Llama-2-70B H100 TP2", 3066, _run("H100", 896, 4096, Work(_PROMPT, 290), ranks=2)),
)
