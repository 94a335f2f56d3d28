"""llama.cpp on a GGUF file: `PYTHON -m tests.bench.workers.llama_cpp_peer FILE NUM_THREADS`, its venv's PYTHON.

Through its C interface, several sequences per call, so that the binding's Python costs it next to nothing.
"""

import sys
import time
from collections.abc import Mapping

import llama_cpp
import numpy as np

from tests.bench.workers.answers import Question
from tests.bench.workers.protocol import Measure, Task, serve

MAX_SEQUENCES = 32
NUM_KV_TOKENS = 8192
MAX_BATCH_TOKENS = 2048


class LlamaCpp:
    def __init__(self, file: str, num_threads: int, *, repacks: bool = True) -> None:
        llama_cpp.llama_backend_init()
        loading = llama_cpp.llama_model_default_params()
        loading.use_extra_bufts = repacks
        model = llama_cpp.llama_model_load_from_file(file.encode(), loading)
        if not model:
            sys.exit(f"llama.cpp cannot load {file}")
        self._vocab_size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_seq_max = NUM_KV_TOKENS, MAX_BATCH_TOKENS, MAX_SEQUENCES
        params.n_threads = params.n_threads_batch = num_threads
        params.kv_unified = True  # one pool for all sequences; otherwise each gets its share of it
        self._context = llama_cpp.llama_init_from_model(model, params)
        self._batch = llama_cpp.llama_batch_init(MAX_BATCH_TOKENS, 0, 1)

    def measures(self) -> Mapping[str, Measure]:
        return {"decode": self._decode_tokens_per_s, "prefill": self._prefill_tokens_per_s}

    def answers(self, questions: list[Question]) -> list[list[int]]:
        """Greedy answers, one after the other."""
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> list[int]:
        tokens = self._prefill([question.prompt])
        output = list(tokens)
        while len(output) < question.max_tokens and output[-1] not in question.stop_ids:
            tokens = self._decode(tokens, len(question.prompt) + len(output) - 1)
            output += tokens
        return output

    def _decode_tokens_per_s(self, task: Task) -> float:
        tokens = self._prefill(task.prompts)
        first, num_steps = len(task.prompts[0]), task.num_output_tokens - 1
        start_s = time.perf_counter()
        for position in range(first, first + num_steps):
            tokens = self._decode(tokens, position)
        return len(tokens) * num_steps / (time.perf_counter() - start_s)

    def _prefill_tokens_per_s(self, task: Task) -> float:
        start_s = time.perf_counter()
        self._prefill(task.prompts)
        return sum(map(len, task.prompts)) / (time.perf_counter() - start_s)

    def _prefill(self, prompts: list[list[int]]) -> list[int]:
        """The first token of each sequence; forgets all that were before."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        return [self._prefill_one(sequence, prompt) for sequence, prompt in enumerate(prompts)]

    def _prefill_one(self, sequence: int, prompt: list[int]) -> int:
        for position, token in enumerate(prompt):
            self._put(position, token, position, sequence, wants_logits=position == len(prompt) - 1)
        self._run(len(prompt))
        return self._best(len(prompt) - 1)

    def _decode(self, tokens: list[int], position: int) -> list[int]:
        for sequence, token in enumerate(tokens):
            self._put(sequence, token, position, sequence, wants_logits=True)
        self._run(len(tokens))
        return [self._best(index) for index in range(len(tokens))]

    def _put(self, index: int, token: int, position: int, sequence: int, *, wants_logits: bool) -> None:
        self._batch.token[index] = token
        self._batch.pos[index] = position
        self._batch.n_seq_id[index] = 1
        self._batch.seq_id[index][0] = sequence
        self._batch.logits[index] = wants_logits

    def _run(self, num_tokens: int) -> None:
        self._batch.n_tokens = num_tokens
        status = llama_cpp.llama_decode(self._context, self._batch)
        if status != 0:
            sys.exit(f"llama_decode returned {status}")

    def _best(self, index: int) -> int:
        logits = llama_cpp.llama_get_logits_ith(self._context, index)
        return int(np.ctypeslib.as_array(logits, (self._vocab_size,)).argmax())


if __name__ == "__main__":
    serve(lambda: LlamaCpp(sys.argv[1], int(sys.argv[2])).measures())
