"""transformers' own generate: `python -m tests.bench.workers.transformers_peer FOLDER DTYPE NUM_THREADS`."""

import sys

import torch
from transformers import AutoModelForCausalLM

from tests.bench.workers.protocol import serve
from tests.bench.workers.static_batch import StaticBatch


class Transformers(StaticBatch):
    def __init__(self, folder: str, dtype: str, num_threads: int) -> None:
        torch.set_num_threads(num_threads)
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()

    def generate(self, prompts: list[list[int]], num_tokens: int) -> None:
        batch = torch.tensor(prompts)
        with torch.inference_mode():
            self._model.generate(
                batch,
                attention_mask=torch.ones_like(batch),
                max_new_tokens=num_tokens,
                min_new_tokens=num_tokens,
                do_sample=False,
                pad_token_id=0,
            )


if __name__ == "__main__":
    serve(lambda: Transformers(sys.argv[1], sys.argv[2], int(sys.argv[3])).measures())
