"""vLLM's offline engine: `PYTHON -m tests.bench.workers.vllm_peer FOLDER DTYPE`, PYTHON being that of its own venv."""

import sys

from vllm import LLM, SamplingParams

from tests.bench.workers.protocol import serve
from tests.bench.workers.static_batch import StaticBatch


class VLLM(StaticBatch):
    def __init__(self, folder: str, dtype: str) -> None:
        self._llm = LLM(model=folder, dtype=dtype, max_model_len=4096, enable_prefix_caching=False)

    def generate(self, prompts: list[list[int]], num_tokens: int) -> None:
        params = SamplingParams(temperature=0, max_tokens=num_tokens, ignore_eos=True, detokenize=False)
        self._llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False)


if __name__ == "__main__":
    serve(lambda: VLLM(sys.argv[1], sys.argv[2]))
