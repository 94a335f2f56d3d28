"""One output on its way through its grammar."""

from collections.abc import Sequence

from llguidance import LLMatcher

from llama4coder.constraint.vocabulary import GrammarVocabulary
from llama4coder.types import Constraint


class OutputMatcher:
    """Follows the tokens of one output; for one thread at a time.

    Whatever goes wrong, a grammar beyond the limits or a token that does not belong, leaves it failed for good: its
    masks then allow nothing but the end.
    """

    def __init__(self, vocabulary: GrammarVocabulary, constraint: Constraint, output: Sequence[int] = ()) -> None:
        self.parser = LLMatcher(vocabulary.tokens, constraint.grammar, log_level=0, limits=vocabulary.limits)
        self.follow(output)

    @property
    def has_failed(self) -> bool:
        return self.parser.is_error()

    @property
    def problem(self) -> str:
        """Why it has failed, in llguidance's words, which may quote the grammar; empty if it has not."""
        return self.parser.get_error()

    def follow(self, token_ids: Sequence[int]) -> None:
        """Take further tokens of the output."""
        for token_id in token_ids:
            self.parser.consume_token(token_id)
