"""How a benchmark asks an engine in a process of its own for greedy answers: one JSON object in, one out.

Only the standard library: a peer's environment holds nothing of ours.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Question:
    """A prompt, and what ends its answer: a token, which is part of it, or the length."""

    prompt: list[int]
    max_tokens: int
    stop_ids: list[int]


def ask(python: str, module: str, arguments: list[str], questions: list[Question]) -> list[list[int]]:
    """The answers' tokens, in order; a worker that fails ends the benchmark."""
    done = subprocess.run(
        [python, "-m", f"tests.bench.workers.{module}", *arguments],
        input=json.dumps([asdict(question) for question in questions]),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "HF_HUB_OFFLINE": "1"},
        check=True,
    )
    answers: list[list[int]] = json.loads(done.stdout)
    return answers


def answer(load: Callable[[], Callable[[list[Question]], list[list[int]]]]) -> None:
    """The worker's side: load the engine, and answer what stands on the standard input."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else the engine prints goes to standard error
    questions = [Question(**fields) for fields in json.load(sys.stdin)]
    print(json.dumps(load()(questions)), file=out, flush=True)
