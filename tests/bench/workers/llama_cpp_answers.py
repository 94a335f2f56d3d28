"""Answers of llama.cpp: `PYTHON -m tests.bench.workers.llama_cpp_answers FILE NUM_THREADS`, its venv's PYTHON."""

import sys

from tests.bench.workers.answers import answer
from tests.bench.workers.llama_cpp_peer import LlamaCpp

if __name__ == "__main__":
    # Weights packed for AMX crash it in some virtual machines that show AMX; speed is no matter here.
    answer(lambda: LlamaCpp(sys.argv[1], int(sys.argv[2]), repacks=False).answers)
