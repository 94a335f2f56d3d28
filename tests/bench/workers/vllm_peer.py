"""vLLM's offline engine: `PYTHON -m tests.bench.workers.vllm_peer FOLDER DTYPE NUM_THREADS`, its venv's PYTHON."""

import os
import sys

from tests.bench.workers.protocol import serve
from tests.bench.workers.static_batch import StaticBatch

KV_GIB = 2


class VLLM(StaticBatch):
    def __init__(self, folder: str, dtype: str, num_threads: int) -> None:
        os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(KV_GIB)
        # Left alone it takes all cores but one; a choice made outside wins, so that both can be measured.
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", f"0-{num_threads - 1}")
        from vllm import LLM, SamplingParams  # reads the environment

        self._new_params = SamplingParams
        self._llm = LLM(model=folder, dtype=dtype, max_model_len=4096, enable_prefix_caching=False)

    def generate(self, prompts: list[list[int]], num_tokens: int) -> None:
        params = self._new_params(temperature=0, max_tokens=num_tokens, ignore_eos=True, detokenize=False)
        self._llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False)


if __name__ == "__main__":
    serve(lambda: VLLM(sys.argv[1], sys.argv[2], int(sys.argv[3])).measures())
