"""A model's tokens as llguidance takes them, with the very bytes that the detokeniser writes."""

from collections.abc import Sequence
from dataclasses import dataclass

from llguidance import LLParserLimits, LLTokenizer, TokenizerWrapper

from llama4coder.tokenizer.tokenizer import Tokenizer

_WORD_BITS = 32


@dataclass(frozen=True, slots=True)
class GrammarVocabulary:
    """Built once per process, in a fraction of a second; any thread may use it."""

    tokens: LLTokenizer
    limits: LLParserLimits

    @classmethod
    def of(cls, tokenizer: Tokenizer, vocab_size: int) -> "GrammarVocabulary | None":
        """For a model whose logits are so wide; None where no token ends its outputs, as then no grammar can either."""
        num_tokens = max(vocab_size, tokenizer.vocab_size)
        end_ids = sorted(token_id for token_id in tokenizer.eos_token_ids if 0 <= token_id < num_tokens)
        if not end_ids:
            return None
        wrapper = TokenizerWrapper(_Tokens(tokenizer, num_tokens, end_ids))
        tokens = LLTokenizer(wrapper, n_vocab=num_tokens, eos_token=end_ids)
        return cls(tokens, _limits())

    @property
    def num_words(self) -> int:
        """32-bit words of one mask."""
        return -(-self.tokens.vocab_size // _WORD_BITS)


def _limits() -> LLParserLimits:
    """About half of llguidance's own: 10 ms for any one mask, and outputs that get so far are ended.

    Errors must not hold what was generated.
    """
    return LLParserLimits(
        initial_lexer_fuel=500_000,
        step_lexer_fuel=100_000,
        step_max_items=25_000,
        max_lexer_states=100_000,
        max_grammar_size=100_000,
        verbose_errors=False,
    )


class _Tokens:
    """What llguidance asks of a tokenizer; its own reading of tokenizer.json need not agree with ours."""

    def __init__(self, tokenizer: Tokenizer, num_tokens: int, end_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = end_ids[0]
        self.bos_token_id = tokenizer.bos_token_id
        self.tokens: Sequence[bytes] = [tokenizer.token_bytes(token_id) for token_id in range(num_tokens)]
        self.special_token_ids = sorted(tokenizer.special_ids.union(end_ids))

    def __call__(self, text: str | bytes) -> list[int]:
        """How the model's own tokenizer would write what a grammar leaves no choice about."""
        if isinstance(text, bytes):
            text = text.decode("utf-8", errors="replace")
        return self._tokenizer.encode_inside(text)
