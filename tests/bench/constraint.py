"""What holding outputs to a schema costs: steps of 16 sequences with and without, by turns, on the embedded model.

    python -m tests.bench.constraint [--rounds 10]

Time is that of the process on all cores, so that others on the machine count less. Of both kinds of rounds the
median is given: prompts, lengths and batch are the same, and so is the number of steps.
"""

import argparse
import statistics
import time
from random import Random

from llama4coder.checkpoint.embedded import ensure_embedded
from llama4coder.constraint.lark import Lark
from llama4coder.constraint.vocabulary import GrammarVocabulary
from llama4coder.engine.engine import Engine
from llama4coder.env import cache_dir
from llama4coder.progress import NullProgress
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import Constraint, GenerateRequest, SamplingParams, StopConditions
from tests.support.engines import build_engine, resolved, run_all

BATCH, NUM_TOKENS, NUM_PROMPT = 16, 48, 32
SCHEMA = {
    "type": "array",
    "minItems": 500,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 30},
            "kind": {"enum": ["function", "class", "module"]},
            "lines": {"type": "array", "items": {"type": "integer"}, "maxItems": 4},
            "is_public": {"type": "boolean"},
        },
        "required": ["name", "kind", "lines", "is_public"],
        "additionalProperties": False,
    },
}


def requests(constraint: Constraint | None, seed: int) -> list[GenerateRequest]:
    random = Random(seed)
    stop = StopConditions(NUM_TOKENS)
    return [
        GenerateRequest(
            str(index),
            tuple(random.randrange(100, 40_000) for _ in range(NUM_PROMPT)),
            SamplingParams(temperature=0.8),
            stop,
            seed=seed + index,
            constraint=constraint,
        )
        for index in range(BATCH)
    ]


def cpu_s(engine: Engine, batch: list[GenerateRequest]) -> float:
    start_s = time.process_time()
    run_all(engine, batch)
    return time.process_time() - start_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    folder = ensure_embedded(cache_dir(), NullProgress())
    start_s = time.process_time()
    tokenizer = Tokenizer.from_folder(folder)
    read_s = time.process_time()
    GrammarVocabulary.of(tokenizer, tokenizer.vocab_size)
    print(f"tokenizer {read_s - start_s:.2f} s, its tokens for grammars {time.process_time() - read_s:.2f} s of CPU")
    engine = build_engine(
        resolved(
            folder,
            num_blocks=400,
            dtype="bfloat16",
            context_length=512,
            max_sequences=BATCH,
            prefix_caching=False,
        )
    )
    lark = Lark(tokenizer.special_id_of)
    constraint = lark.constraint(lark.json(SCHEMA))
    free, held = [], []
    for seed in range(rounds + 1):
        free.append(cpu_s(engine, requests(None, seed)))
        held.append(cpu_s(engine, requests(constraint, seed)))
    engine.close()
    without, with_masks = (statistics.median(times[1:]) / NUM_TOKENS * 1000 for times in (free, held))
    share = (with_masks - without) / without
    print(f"step of {BATCH}: {without:.1f} ms without, {with_masks:.1f} ms with constraints: {share:+.1%}, CPU time")


if __name__ == "__main__":
    main()
