"""Outputs of the embedded model under generated schemas, judged by a validator that is not ours."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

import jsonschema

from llama4coder.checkpoint.embedded import ensure_embedded
from llama4coder.constraint.check import check_grammar
from llama4coder.constraint.lark import Lark
from llama4coder.constraint.vocabulary import GrammarVocabulary
from llama4coder.engine.engine import Engine
from llama4coder.engine.loading_rank import load_runner
from llama4coder.engine.local_executor import LocalExecutor
from llama4coder.env import cache_dir
from llama4coder.obs.stats import NullObserver
from llama4coder.progress import NullProgress
from llama4coder.server.answer_format import JsonSchema
from llama4coder.server.output_language import OutputLanguage
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import FinishReason, GenerateRequest, SamplingParams, StopConditions
from tests.support.engines import resolved, run_all
from tests.support.json_schemas import random_schema

BATCH = 25
_MAX_TOKENS = 400
_PROMPT = "<|im_start|>user\nGive me an example.<|im_end|>\n<|im_start|>assistant\n"
_TEMPERATURES = (0.0, 0.7, 1.0, 1.5)

# The library's own know neither offsets of times (RFC 3339) nor years before the first; leap days are not looked at.
_FORMATS = jsonschema.FormatChecker(("ipv4", "uuid"))
_DATE, _TIME = r"\d{4}-[01]\d-[0-3]\d", r"[0-2]\d:[0-5]\d:[0-6]\d(\.\d+)?([zZ]|[+-][0-2]\d:[0-5]\d)"
_SHAPES = {"date": _DATE, "time": _TIME, "date-time": f"{_DATE}[tT]{_TIME}"}
for _name in _SHAPES:
    _FORMATS.checks(_name)(lambda value, pattern=_SHAPES[_name]: not isinstance(value, str) or _is(pattern, value))


def _is(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text) is not None


@dataclass(frozen=True)
class Subject:
    """The embedded model."""

    engine: Engine
    tokenizer: Tokenizer
    vocabulary: GrammarVocabulary


@contextmanager
def embedded_subject() -> Iterator[Subject]:
    folder = ensure_embedded(cache_dir(), NullProgress())
    config = resolved(folder, num_blocks=1000, dtype="bfloat16", context_length=512, max_sequences=BATCH)
    engine = Engine(config, LocalExecutor(load_runner(config, NullProgress()).launch), NullObserver())
    tokenizer = Tokenizer.from_folder(folder)
    vocabulary = GrammarVocabulary.of(tokenizer, tokenizer.vocab_size)
    assert vocabulary is not None
    yield Subject(engine, tokenizer, vocabulary)
    engine.close()


def num_cut(subject: Subject, numbers: Sequence[int], depth: int) -> int:
    """Sample an output for each schema; all that have ended must validate. Returns how many did not end in time."""
    schemas = {str(number): random_schema(Random(number), depth) for number in numbers}
    requests = [_request(subject, number, schemas[str(number)]) for number in numbers]
    cut = 0
    for name, result in run_all(subject.engine, requests).items():
        if result.finish_reason is FinishReason.LENGTH:
            cut += 1
            continue
        assert result.finish_reason is FinishReason.STOP
        text = subject.tokenizer.decode(result.token_ids)
        validator = jsonschema.Draft202012Validator(schemas[name], format_checker=_FORMATS)
        validator.validate(json.loads(text))
    return cut


def _request(subject: Subject, number: int, schema: dict[str, object]) -> GenerateRequest:
    constraint = OutputLanguage(JsonSchema(schema), None, None).constraint(Lark(subject.tokenizer.special_id_of))
    check_grammar(subject.vocabulary, constraint)
    prompt = tuple(subject.tokenizer.encode(_PROMPT, add_bos=False))
    sampling = SamplingParams(temperature=_TEMPERATURES[number % 4], top_p=(1.0, 0.95)[number % 2])
    stop = StopConditions(_MAX_TOKENS, stop_token_ids=subject.tokenizer.eos_token_ids)
    return GenerateRequest(str(number), prompt, sampling, stop, seed=number, constraint=constraint)
