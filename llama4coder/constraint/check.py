"""Whether outputs can be held to a grammar, found out before any is begun."""

import numpy as np

from llama4coder.constraint.bad_grammar import BadGrammar
from llama4coder.constraint.matcher import OutputMatcher
from llama4coder.constraint.vocabulary import GrammarVocabulary
from llama4coder.types import Constraint

_MAX_CHARS = 512 * 1024
_NUM_TRIED = 8  # tokens


def check_grammar(vocabulary: GrammarVocabulary, constraint: Constraint) -> None:
    """Compile it, and see how outputs may begin; takes up to a second or so for what is near the limits.

    Raises:
        BadGrammar: it cannot be compiled within the limits, or nothing matches it.
    """
    if len(constraint.grammar) > _MAX_CHARS:
        raise BadGrammar(f"it is too large: more than {_MAX_CHARS} characters")
    matcher = OutputMatcher(vocabulary, constraint)
    if not matcher.has_failed:
        _begin(matcher)
    if matcher.has_failed:
        raise BadGrammar.of(matcher.problem)


def _begin(matcher: OutputMatcher) -> None:
    """Take the first token that may come, a few times, and take them back, as ranks do with guesses."""
    num_taken = 0
    while num_taken < _NUM_TRIED and not matcher.parser.is_stopped():
        bits = np.frombuffer(matcher.parser.compute_bitmask(), dtype=np.uint8)
        allowed = np.flatnonzero(np.unpackbits(bits, bitorder="little"))
        if matcher.has_failed or not allowed.size:
            return
        num_taken += matcher.parser.try_consume_tokens([int(allowed[0])])
    matcher.parser.rollback(num_taken)
