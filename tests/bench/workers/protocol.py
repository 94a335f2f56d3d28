"""How a benchmark talks to an engine in a process of its own, perhaps with another Python: one JSON object per line.

Only the standard library: a peer's environment holds nothing of ours.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Task:
    """Generate exactly so many tokens after each prompt, all prompts at once."""

    measure: str  # one of the subject's measures
    prompts: list[list[int]]
    num_output_tokens: int
    temperature: float = 0.0

    def to_json(self) -> str:
        return json.dumps(asdict(self))


Measure = Callable[[Task], float]
"""`decode`: tokens/s after the first of every sequence; `prefill`: prompt tokens/s until the first token."""


def serve(load: Callable[[], Mapping[str, Measure]]) -> None:
    """Load the engine, say that it is ready, then answer tasks until the input ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else the engine prints goes to standard error
    measures = load()
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        task = Task(**json.loads(line))
        print(json.dumps({"value": measures[task.measure](task)}), file=out, flush=True)
