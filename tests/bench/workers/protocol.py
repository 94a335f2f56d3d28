"""How a benchmark talks to an engine in a process of its own, perhaps with another Python: one JSON object per line.

Only the standard library: a peer's environment holds nothing of ours.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Protocol


@dataclass(frozen=True)
class Task:
    """Greedy generation for `prompts`; decoding is measured without the prefill, prefill until the first token."""

    measure: str  # "decode" or "prefill"
    prompts: list[list[int]]
    num_output_tokens: int

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class Subject(Protocol):
    """An engine to be measured."""

    def decode_tokens_per_s(self, task: Task) -> float: ...

    def prefill_tokens_per_s(self, task: Task) -> float: ...


def serve(load: Callable[[], Subject]) -> None:
    """Load the engine, say that it is ready, then answer tasks until the input ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else the engine prints goes to standard error
    subject = load()
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        task = Task(**json.loads(line))
        measure = subject.decode_tokens_per_s if task.measure == "decode" else subject.prefill_tokens_per_s
        print(json.dumps({"tokens_per_s": measure(task)}), file=out, flush=True)
