"""Grammars, masks and what is said of those that are none."""

import json
from pathlib import Path
from random import Random

import jsonschema
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llama4coder.constraint.bad_grammar import BadGrammar
from llama4coder.constraint.check import check_grammar
from llama4coder.constraint.lark import Lark
from llama4coder.constraint.masks import MaskedRow, MaskMaker
from llama4coder.constraint.matcher import OutputMatcher
from llama4coder.sampling.masks import TokenMasks
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import Constraint
from tests.support.grammar_walks import Walker
from tests.support.json_schemas import random_schema
from tests.support.tiny import write_tiny_tokenizer


@pytest.fixture(scope="module")
def walker(tmp_path_factory: pytest.TempPathFactory) -> Walker:
    folder = tmp_path_factory.mktemp("tokens")
    write_tiny_tokenizer(folder)
    return Walker(Tokenizer.from_folder(folder))


def of_schema(walker: Walker, schema: dict[str, object]) -> Constraint:
    lark = Lark(walker.tokenizer.special_id_of)
    return lark.constraint(lark.json(schema))


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_whatever_a_schema_allows_validates(walker: Walker, seed: int) -> None:
    schema = random_schema(Random(seed))
    constraint = of_schema(walker, schema)
    check_grammar(walker.vocabulary, constraint)
    text = walker.walk(constraint, Random(seed), max_tokens=1000)
    if text is not None:
        jsonschema.validate(json.loads(text), schema)


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), wrong=st.integers(0, 30))
def test_masks_behind_guesses_are_those_of_the_guessed_text(walker: Walker, seed: int, wrong: int) -> None:
    """And the matcher is where it was; behind a guess that cannot come, everything is allowed."""
    constraint, random = of_schema(walker, random_schema(Random(seed))), Random(seed)
    text = walker.walk(constraint, random, max_tokens=60) or "{"
    output = walker.tokenizer.encode(text, add_bos=False)
    cut = random.randrange(len(output))
    guesses = output[cut : cut + 9]
    if wrong < len(guesses):
        guesses[wrong] = 1  # a special token
    matcher = OutputMatcher(walker.vocabulary, constraint, output[:cut])
    if matcher.has_failed:
        return  # the whole text's tokens need not be those of the walk
    maker = MaskMaker(walker.vocabulary.num_words, 1)
    before = maker.masks([MaskedRow(matcher)])
    masks = maker.masks([MaskedRow(matcher, guesses)])
    assert np.array_equal(maker.masks([MaskedRow(matcher)]), before)
    for index in range(len(guesses) + 1):
        fresh = OutputMatcher(walker.vocabulary, constraint, output[:cut])
        if fresh.parser.try_consume_tokens(guesses[:index]) < index:
            assert (masks[index:] == -1).all()
            return
        if not fresh.parser.is_stopped() or index == 0:
            assert np.array_equal(masks[index], maker.masks([MaskedRow(fresh)])[0])


@pytest.mark.parametrize("rows", [[0, 1, 2], [1], [0, 2]])
@pytest.mark.parametrize("share", [slice(0, 200), slice(64, 128), slice(128, 200), slice(128, 230)])
def test_masks_rule_tokens_out(rows: list[int], share: slice) -> None:
    random = np.random.default_rng(0)
    allowed = random.random((len(rows), 224)) < 0.3
    bits = np.packbits(allowed, axis=1, bitorder="little").view(np.int32)
    logits = torch.randn(3, share.stop - share.start)
    expected = logits.clone()
    for place, row in enumerate(rows):
        known = np.pad(allowed[place], (0, 16))[share]
        expected[row, ~torch.from_numpy(known)] = -torch.inf
    before = logits.clone()
    assert torch.equal(TokenMasks(rows, bits).applied(logits, share), expected)
    assert torch.equal(logits, before)


def test_two_lines_of_anything_are_no_grammar(walker: Walker) -> None:
    for grammar in ("", "start: a", "start: /(/", 'start: %json {"not": {}}', 'start: <[99999]> "a"'):
        with pytest.raises(BadGrammar) as refused:
            check_grammar(walker.vocabulary, Constraint(grammar))
        assert len(str(refused.value)) < 80


def test_an_end_is_the_only_token_behind_a_whole_sentence(walker: Walker, tmp_path: Path) -> None:
    matcher = OutputMatcher(walker.vocabulary, Constraint('start: "ab" "c"?'))
    assert walker.allowed(matcher) and 2 not in walker.allowed(matcher)
    matcher.follow(walker.tokenizer.encode("ab", add_bos=False))
    c = walker.tokenizer.encode("c", add_bos=False)
    assert walker.allowed(matcher) == [2, *c]
    matcher.follow(c)
    assert walker.allowed(matcher) == [2]
    matcher.follow([2, 2])  # a step that was planned ahead
    assert not matcher.has_failed and walker.allowed(matcher) == [2]
