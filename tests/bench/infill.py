"""Holes in the standard library's source, filled by our engine and by llama.cpp from the same prompts.

    .venv/bin/python -m tests.bench.infill --gguf FILE [--llama-cpp PYTHON] [--dtype bfloat16] [--holes 30] [--seed 0]
        [--threads N] [--answers FILE]

PYTHON is that of a virtual environment with llama-cpp-python. Both read FILE, a model with tokens for a hole; ours
converts it to DTYPE once, llama.cpp computes with the quantised weights. Greedy. So many holes are the ends of lines,
which a line break ends too, and as many blocks of two to five lines. What counts: whether the answer is what stood
there, but for white space at its end; and whether the whole file can be parsed with it. With `--answers` the answers
are kept, and those that are there are not asked for again.
"""

import argparse
import ast
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.env import cache_dir
from llama4coder.progress import NullProgress
from llama4coder.server.syntax import cut_at_syntax
from llama4coder.tokenizer.fim import FimFormat, Hole
from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.bench.holes import SourceHole, source_holes
from tests.bench.measure import describe_machine, markdown_table
from tests.bench.workers.answers import Question, ask

MAX_LINE_TOKENS = 64
MAX_BLOCK_TOKENS = 128
CONTEXT_TOKENS = 2048


@dataclass(frozen=True)
class Engine:
    """One engine's answers, as tokens and as text."""

    name: str
    tokens: list[list[int]]
    texts: list[str]


class Asked:
    """The holes as questions."""

    def __init__(self, tokenizer: Tokenizer, holes: Sequence[SourceHole]) -> None:
        fim = FimFormat.of(tokenizer)
        if fim is None:
            sys.exit("this model has no tokens for a hole")
        self._tokenizer = tokenizer
        self._ends = fim.end_ids | tokenizer.eos_token_ids
        lines = [id for id in tokenizer.vocabulary() if "\n" in tokenizer.token_text(id)]
        self.holes = holes
        self.questions = [
            Question(
                list(fim.prompt(Hole(hole.near_prefix, hole.near_suffix), CONTEXT_TOKENS).token_ids),
                MAX_LINE_TOKENS if hole.is_single_line else MAX_BLOCK_TOKENS,
                sorted({*self._ends, *lines} if hole.is_single_line else self._ends),
            )
            for hole in holes
        ]

    def engine(self, name: str, tokens: list[list[int]]) -> Engine:
        """Answers as text, without the token that ended them."""
        texts = [self._text(*pair) for pair in zip(self.holes, tokens, strict=True)]
        return Engine(name, tokens, texts)

    def _text(self, hole: SourceHole, tokens: list[int]) -> str:
        text = self._tokenizer.decode([token_id for token_id in tokens if token_id not in self._ends])
        return text.split("\n")[0] if hole.is_single_line else text


def main() -> None:
    options = _parse()
    folder = find_checkpoint(str(options.gguf), cache_dir(), NullProgress())
    asked = Asked(Tokenizer.from_folder(folder), source_holes(options.holes, options.holes, options.seed))
    threads = str(options.threads)
    ours_arguments = [str(folder), options.dtype, threads]
    engines = [_engine(asked, options, f"ours {options.dtype}", sys.executable, "ours_answers", ours_arguments)]
    engines.append(_cut(asked, engines[0]))
    if options.llama_cpp:
        arguments = [str(options.gguf), threads]
        engines.append(_engine(asked, options, "llama.cpp", options.llama_cpp, "llama_cpp_answers", arguments))
    version = f"Python {sys.version.split()[0]}"
    print(f"{options.gguf.name}, {describe_machine(options.threads)}, {version}'s library, seed {options.seed}")
    print(markdown_table(["", "holes", "exact", "parses", "same tokens as ours"], _rows(asked, engines)))


def _engine(
    asked: Asked, options: argparse.Namespace, name: str, python: str, module: str, arguments: list[str]
) -> Engine:
    kept = json.loads(options.answers.read_text()) if options.answers and options.answers.exists() else {}
    if name not in kept:
        kept[name] = ask(python, module, arguments, asked.questions)
        if options.answers:
            options.answers.write_text(json.dumps(kept))
    return asked.engine(name, kept[name])


def _cut(asked: Asked, engine: Engine) -> Engine:
    texts = [
        text[: cut_at_syntax(hole.prefix, text, hole.suffix, "python")]
        for hole, text in zip(asked.holes, engine.texts, strict=True)
    ]
    return Engine(f"{engine.name}, cut by syntax", engine.tokens, texts)


def _rows(asked: Asked, engines: Sequence[Engine]) -> list[list[str]]:
    rows = []
    for kind, is_single_line in (("line", True), ("block", False)):
        indexes = [index for index, hole in enumerate(asked.holes) if hole.is_single_line is is_single_line]
        for engine in engines:
            rates: list[Callable[[int], bool]] = [
                lambda index, engine=engine: engine.texts[index].rstrip() == asked.holes[index].middle.rstrip(),
                lambda index, engine=engine: parses(asked.holes[index].filled(engine.texts[index])),
            ]
            if engine.tokens is not engines[0].tokens:
                rates.append(lambda index, engine=engine: engine.tokens[index] == engines[0].tokens[index])
            shares = [f"{sum(map(rate, indexes))}/{len(indexes)}" for rate in rates] + [""] * (3 - len(rates))
            rows.append([f"{kind}, {engine.name}", str(len(indexes)), *shares])
    return rows


def parses(source: str) -> bool:
    """Whether it is Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", metavar="FILE", type=Path, required=True)
    parser.add_argument("--llama-cpp", metavar="PYTHON")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--holes", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--answers", metavar="FILE", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
