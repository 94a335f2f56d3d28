"""A peer's process, seen from the benchmark."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from tests.bench.workers.protocol import Task

_LAST_WORDS_BYTES = 2000


class Worker:
    """Starts at once; `ready_s` is how long it took from start to ready. One that ends ends the benchmark."""

    def __init__(self, name: str, python: str, module: str, arguments: Sequence[str]) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile()
        started_s = time.perf_counter()
        self._process = subprocess.Popen(
            [python, "-m", f"tests.bench.workers.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "PYTHONPATH": os.getcwd(), "HF_HUB_OFFLINE": "1"},
        )
        self._read()
        self.ready_s = time.perf_counter() - started_s

    def measure(self, task: Task) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(task.to_json() + "\n")
        self._process.stdin.flush()
        return float(self._read()["value"])

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._errors.close()

    def _read(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self._errors.seek(-min(_LAST_WORDS_BYTES, self._errors.seek(0, os.SEEK_END)), os.SEEK_END)
            sys.exit(f"{self._errors.read().decode(errors='replace')}\n{self.name} ended with status {status}")
        answer: dict[str, float] = json.loads(line)
        return answer
