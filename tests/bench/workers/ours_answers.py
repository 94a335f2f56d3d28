"""Answers of our engine: `python -m tests.bench.workers.ours_answers FOLDER DTYPE NUM_THREADS`."""

import sys
from pathlib import Path

from tests.bench.workers.answers import answer
from tests.bench.workers.ours import Ours

if __name__ == "__main__":
    answer(lambda: Ours(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), "none").answers)
