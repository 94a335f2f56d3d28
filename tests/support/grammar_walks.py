"""Outputs that a grammar allows, found by walking through it at random."""

from random import Random

import numpy as np

from llama4coder.constraint.matcher import OutputMatcher
from llama4coder.constraint.vocabulary import GrammarVocabulary
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import Constraint

_CLOSING = frozenset(b'"}])>\n,')


class Walker:
    """Walks with one model's tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        vocabulary = GrammarVocabulary.of(tokenizer, tokenizer.vocab_size)
        assert vocabulary is not None
        self.vocabulary = vocabulary
        closing = (any(byte in _CLOSING for byte in tokenizer.token_bytes(i)) for i in range(tokenizer.vocab_size))
        self._closes = np.fromiter(closing, dtype=np.bool_)

    def matcher(self, constraint: Constraint) -> OutputMatcher:
        """At the beginning."""
        return OutputMatcher(self.vocabulary, constraint)

    def allowed(self, matcher: OutputMatcher) -> list[int]:
        bits = np.frombuffer(matcher.parser.compute_bitmask(), dtype=np.uint8)
        return [int(i) for i in np.flatnonzero(np.unpackbits(bits, bitorder="little"))]

    def accepts(self, constraint: Constraint, text: str) -> bool:
        """Whether a text is a whole sentence, special tokens in it being such."""
        matcher = self.matcher(constraint)
        token_ids = self.tokenizer.encode(text, add_bos=False)
        return matcher.parser.try_consume_tokens(token_ids) == len(token_ids) and matcher.parser.is_accepting()

    def walk(self, constraint: Constraint, random: Random, begun: str = "", max_tokens: int = 400) -> str | None:
        """A whole output that begins with `begun`, its specials as text; None where it has not ended in time."""
        token_ids = self.tokenizer.encode(begun, add_bos=False)
        matcher = self.matcher(constraint)
        assert matcher.parser.try_consume_tokens(token_ids) == len(token_ids), "the beginning is not allowed"
        ends = self.tokenizer.eos_token_ids
        for _ in range(max_tokens):
            allowed = self.allowed(matcher)
            assert allowed and not matcher.has_failed, matcher.problem
            others = [token_id for token_id in allowed if token_id not in ends]
            if len(others) < len(allowed) and (not others or random.random() < 0.2):
                return self.tokenizer.decode(token_ids, skip_special=False)
            closing = [token_id for token_id in others if self._closes[token_id]]
            token_ids.append(random.choice(closing if closing and random.random() < 0.5 else others))
            matcher.follow(token_ids[-1:])
        return None
