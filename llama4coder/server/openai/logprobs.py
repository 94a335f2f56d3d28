"""Log-probabilities in OpenAI's two shapes."""

from collections.abc import Sequence

from llama4coder.server.openai.replies import (
    ChatLogprobs,
    ChatTokenLogprob,
    ChatTopLogprob,
    CompletionLogprobs,
)
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import PositionLogprobs, TokenLogprob

_LOWEST = -9999.0  # JSON knows no infinity; OpenAI writes this


def chat_logprobs(tokenizer: Tokenizer, positions: Sequence[PositionLogprobs]) -> ChatLogprobs:
    """The shape of chats: bytes beside the text, since a token may be a part of a character."""
    return ChatLogprobs([_chat_position(tokenizer, position) for position in positions])


def _chat_position(tokenizer: Tokenizer, position: PositionLogprobs) -> ChatTokenLogprob:
    chosen = _chat_candidate(tokenizer, position.chosen)
    top = [_chat_candidate(tokenizer, candidate) for candidate in position.top]
    return ChatTokenLogprob(chosen.token, chosen.logprob, chosen.bytes, top)


def _chat_candidate(tokenizer: Tokenizer, candidate: TokenLogprob) -> ChatTopLogprob:
    text, data = tokenizer.token_text(candidate.token_id), tokenizer.token_bytes(candidate.token_id)
    return ChatTopLogprob(text, max(candidate.logprob, _LOWEST), list(data))


class CompletionLogprobsWriter:
    """The shape of completions, for one choice; offsets go on from one call to the next.

    Offsets count the characters of the tokens before, so inside a character of several tokens they run ahead.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._offset = 0

    def write(self, token_ids: Sequence[int], positions: Sequence[PositionLogprobs | None]) -> CompletionLogprobs:
        """One entry per token; None for a prompt's first, before which there is nothing to judge it by."""
        reply = CompletionLogprobs([], [], [], [])
        for token_id, position in zip(token_ids, positions, strict=True):
            text = self._tokenizer.token_text(token_id)
            reply.tokens.append(text)
            reply.token_logprobs.append(None if position is None else max(position.chosen.logprob, _LOWEST))
            reply.top_logprobs.append(None if position is None else self._candidates(position))
            reply.text_offset.append(self._offset)
            self._offset += len(text)
        return reply

    def _candidates(self, position: PositionLogprobs) -> dict[str, float]:
        # Different tokens may have the same text; the best of them stands for all.
        by_text: dict[str, float] = {}
        for candidate in (*position.top, position.chosen):
            by_text.setdefault(self._tokenizer.token_text(candidate.token_id), max(candidate.logprob, _LOWEST))
        return by_text
