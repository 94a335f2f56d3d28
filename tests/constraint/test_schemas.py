"""What the embedded model samples under generated schemas validates, by a validator that is not ours."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import jsonschema
import pytest

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

_MAX_TOKENS = 400
_BATCH = 25


@dataclass(frozen=True)
class Subject:
    """The embedded model."""

    engine: Engine
    tokenizer: Tokenizer
    vocabulary: GrammarVocabulary


@pytest.fixture(scope="module")
def subject() -> Iterator[Subject]:
    folder = ensure_embedded(cache_dir(), NullProgress())
    config = resolved(folder, num_blocks=2000, dtype="bfloat16", context_length=1024, max_sequences=_BATCH)
    engine = Engine(config, LocalExecutor(load_runner(config, NullProgress()).launch), NullObserver())
    tokenizer = Tokenizer.from_folder(folder)
    yield Subject(engine, tokenizer, GrammarVocabulary.of(tokenizer, tokenizer.vocab_size))
    engine.close()


def request(subject: Subject, index: int, schema: dict[str, object]) -> GenerateRequest:
    constraint = OutputLanguage(JsonSchema(schema), None, None).constraint(Lark(subject.tokenizer.special_id_of))
    check_grammar(subject.vocabulary, constraint)
    text = f"<|im_start|>user\nAnswer in JSON by this schema: {json.dumps(schema)}<|im_end|>\n<|im_start|>assistant\n"
    sampling = SamplingParams(temperature=(0.0, 0.7, 1.0, 1.5)[index % 4], top_p=(1.0, 0.95)[index % 2])
    stop = StopConditions(_MAX_TOKENS, stop_token_ids=subject.tokenizer.eos_token_ids)
    prompt = tuple(subject.tokenizer.encode(text, add_bos=False)[-500:])
    return GenerateRequest(str(index), prompt, sampling, stop, seed=index, constraint=constraint)


def num_cut(subject: Subject, numbers: Sequence[int]) -> int:
    """Sample an output for each schema; every one that has ended must validate. How many did not end in time?"""
    schemas = {str(number): random_schema(Random(number)) for number in numbers}
    requests = [request(subject, number, schemas[str(number)]) for number in numbers]
    cut = 0
    for name, result in run_all(subject.engine, requests).items():
        if result.finish_reason is FinishReason.LENGTH:
            cut += 1
            continue
        assert result.finish_reason is FinishReason.STOP
        text = subject.tokenizer.decode(result.token_ids)
        validator = jsonschema.Draft202012Validator(schemas[name], format_checker=jsonschema.FormatChecker())
        validator.validate(json.loads(text))
    return cut


def test_sampled_outputs_validate(subject: Subject) -> None:
    assert num_cut(subject, range(20)) <= 2


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_thousand_sampled_outputs_validate(subject: Subject) -> None:
    cut = sum(num_cut(subject, range(first, first + _BATCH)) for first in range(0, 1000, _BATCH))
    print(f"1000 schemas, {cut} outputs cut by max_tokens, all others valid")
    assert cut <= 50
