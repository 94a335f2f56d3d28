"""Token ids to text as they arrive: whole characters only, ended by stop strings."""

import codecs
from collections.abc import Sequence, Set
from dataclasses import dataclass

from llama4coder.tokenizer.stop_strings import StopStrings
from llama4coder.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, repr=False)
class TextDelta:
    """What one push added to the text."""

    text: str
    stopped: bool  # a stop string is complete; nothing follows
    num_tokens: int  # tokens of the push that count: up to and with the one that completed the stop string


class TextStream:
    """Turns one sequence's tokens into text, however they are cut into pushes.

    - The deltas and `finish` together are `tokenizer.decode` of all tokens, up to the first stop string.
    - A token costs the same however long the text is and however many stop strings there are.
    - Stop strings completed by a token before the `min_tokens`th are ordinary text.
    - Special tokens have no text but those in `shown_specials`, which is None where all have theirs.
    - With `continues_text` the tokens follow others, so that a leading space is kept.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        stop: Sequence[str] = (),
        *,
        include_stop: bool = False,
        min_tokens: int = 0,
        shown_specials: Set[int] | None = frozenset(),
        continues_text: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._stop_strings = StopStrings(stop)
        self._include_stop = include_stop
        self._min_tokens = min_tokens
        self._skips_special = shown_specials is not None
        self._shown_specials = shown_specials or frozenset()
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._at_start = not continues_text
        self._state = self._stop_strings.start
        self._held = ""  # text that may be the beginning of a stop string
        self._num_tokens = 0
        self._ended = False
        self.stop_string: str | None = None
        """The stop string that ended it."""

    def push(self, token_ids: Sequence[int]) -> TextDelta:
        """Take the next tokens and give the text that is certain; after a stop nothing counts any more."""
        texts: list[str] = []
        for index, token_id in enumerate(token_ids):
            if self._ended:
                return TextDelta("".join(texts), True, index)
            self._num_tokens += 1
            texts.append(self._scan(self._utf8.decode(self._bytes(token_id))))
        return TextDelta("".join(texts), self._ended, len(token_ids))

    def finish(self) -> str:
        """End the sequence and give the text still held back."""
        if self._ended:
            return ""
        text = self._scan(self._utf8.decode(b"", final=True)) + self._held
        self._held = ""
        self._ended = True
        return text

    def _bytes(self, token_id: int) -> bytes:
        has_text = self._tokenizer.has_text(token_id, skip_special=self._skips_special)
        if not has_text and token_id not in self._shown_specials:
            return b""
        if self._at_start:
            self._at_start = False
            return self._tokenizer.first_token_bytes(token_id)
        return self._tokenizer.token_bytes(token_id)

    def _scan(self, text: str) -> str:
        """What can be given out after `text` has been added; ends the stream at a stop string."""
        if not self._stop_strings.start.children:
            return text
        pending = self._held + text
        for end, char in enumerate(text, start=len(self._held) + 1):
            self._state = self._stop_strings.next(self._state, char)
            if self._state.match_length and self._num_tokens >= self._min_tokens:
                self._held = ""
                self._ended = True
                self.stop_string = pending[end - self._state.match_length : end]
                return pending[: end if self._include_stop else end - self._state.match_length]
        num_certain = len(pending) - self._state.num_held
        self._held = pending[num_certain:]
        return pending[:num_certain]
