"""Reads along in what was there before: one text of prediction, prompt and output, and a cursor in it.

    prediction | prompt output
        ^ cursor: while each new token is the one that stands here, the next ones are guessed to follow, too

When a token differs, the cursor moves to where the text's last tokens stand in the longest equal run. Code is full of
repeated lines, so of equally good places the one shortly after the place it left wins: an edit goes on below.
"""

from collections.abc import Iterator, Sequence
from itertools import chain

from llama4coder.spec.suffix_index import SuffixIndex

LONGEST_MATCH = 16
"""Longer runs count no more than this when places are compared."""
_MIN_MATCH = 2
_BORDER = 2**31 - 1  # no token, so no run spans prediction and prompt
_MAX_PLACES = 64  # tried per search, latest first
_NEARBY = 64  # tokens from the place that was left


class Follower:
    """One request's text; `extend` and `guess` take time per token that does not depend on its length."""

    def __init__(self, prediction: Sequence[int], token_ids: Sequence[int]) -> None:
        """With a prediction the cursor starts at its beginning, as if after a long match."""
        self._text = [*prediction, _BORDER, *token_ids]
        self._index = SuffixIndex(self._text)
        self._prompt_start = len(prediction) + 1
        self._cursor: int | None = None
        self._left: int | None = None  # where the cursor was last
        self.num_matched = 0
        """Tokens before the cursor that equal the last ones; below 2 where there is no cursor."""
        if prediction:
            self._cursor, self._left, self.num_matched = 0, 0, LONGEST_MATCH
        else:
            self._search()

    @property
    def num_tokens(self) -> int:
        """Of prompt and output."""
        return len(self._text) - self._prompt_start

    def extend(self, token_ids: Sequence[int]) -> None:
        """The output has grown."""
        for token_id in token_ids:
            self._append(token_id)

    def guess(self, max_tokens: int) -> tuple[int, ...]:
        """What stands at the cursor, no longer than the match before it; may be empty.

        Where that is the end of the text it repeats itself.
        """
        cursor = self._cursor
        if cursor is None:
            return ()
        max_tokens = min(max_tokens, self.num_matched)
        if cursor < self._prompt_start:
            return tuple(self._text[cursor : min(cursor + max_tokens, self._prompt_start - 1)])
        period = len(self._text) - cursor
        return tuple(self._text[cursor + number % period] for number in range(max_tokens))

    def _append(self, token_id: int) -> None:
        cursor = self._cursor
        follows = cursor is not None and self._text[cursor] == token_id
        self._text.append(token_id)
        self._index.append(self._text)
        if cursor is not None and follows:
            self._cursor = self._left = cursor + 1
            self.num_matched += 1
        else:
            self._search()

    def _search(self) -> None:
        """Move the cursor to the place with the longest match; of equals the first one tried."""
        self._cursor, self.num_matched = None, _MIN_MATCH - 1
        for place in chain(self._places_nearby(), self._index.places(_MAX_PLACES)):
            num_matched = self._match_length(place)
            if num_matched > self.num_matched:
                self._cursor, self.num_matched = place, num_matched
        self._left = self._left if self._cursor is None else self._cursor

    def _places_nearby(self) -> Iterator[int]:
        """Places after a token like the last one, from where the cursor was last."""
        if self._left is None:
            return
        last = self._text[-1]
        for place in range(self._left + 1, min(self._left + 1 + _NEARBY, len(self._text))):
            if self._text[place - 1] == last:
                yield place

    def _match_length(self, place: int) -> int:
        """How many tokens before it equal those before the text's end, up to `LONGEST_MATCH`."""
        text, end = self._text, len(self._text)
        limit = min(LONGEST_MATCH, place)
        return next((n for n in range(limit) if text[place - 1 - n] != text[end - 1 - n]), limit)
