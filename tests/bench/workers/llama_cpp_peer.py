"""llama.cpp on a GGUF file, one sequence at a time: `PYTHON -m tests.bench.workers.llama_cpp_peer FILE NUM_THREADS`."""

import sys
import time

from llama_cpp import Llama

from tests.bench.workers.protocol import Task, serve


class LlamaCpp:
    def __init__(self, file: str, num_threads: int) -> None:
        self._llama = Llama(
            file, n_ctx=4096, n_batch=2048, n_threads=num_threads, n_threads_batch=num_threads, verbose=False
        )

    def decode_tokens_per_s(self, task: Task) -> float:
        (prompt,) = task.prompts
        self._llama.reset()
        tokens = self._llama.generate(prompt, temp=0.0)
        next(tokens)
        start_s = time.perf_counter()
        for _ in range(task.num_output_tokens - 1):
            next(tokens)
        return (task.num_output_tokens - 1) / (time.perf_counter() - start_s)

    def prefill_tokens_per_s(self, task: Task) -> float:
        (prompt,) = task.prompts
        self._llama.reset()
        start_s = time.perf_counter()
        next(self._llama.generate(prompt, temp=0.0))
        return len(prompt) / (time.perf_counter() - start_s)


if __name__ == "__main__":
    serve(lambda: LlamaCpp(sys.argv[1], int(sys.argv[2])))
