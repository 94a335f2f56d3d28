"""Content and calls out of one answer's text, as it arrives."""

import re
from collections.abc import Sequence

from llama4coder.server.reply.events import Content
from llama4coder.server.reply.grammar import Grammar
from llama4coder.server.reply.reader import EventReader
from llama4coder.server.reply.source import NotACallError, Reading, UnfinishedError


class CallParser(EventReader):
    """Gives out content as soon as it cannot be the beginning of a call, and a call once it is whole.

    What looks like a call and is none is content, every character of it, and may hold calls itself; a call that the
    end of the text cuts off is content with all that follows its beginning.
    """

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._mark = re.compile("|".join(map(re.escape, grammar.marks)) or r"(?!)")
        super().__init__()

    def _read(self) -> Reading[None]:
        yield  # nothing has arrived yet
        begins = yield from self._begins_with_call()
        while begins or (yield from self._find_mark()):
            begins = False
            self._give_content()
            try:
                calls = yield from self._grammar.calls(self._source)
            except UnfinishedError:
                self._source.at = len(self._source.text)
            except NotACallError:
                self._source.at = 1
            else:
                self._source.take()
                self._events += calls

    def _begins_with_call(self) -> Reading[bool]:
        if not self._grammar.first_chars:
            return False
        first = yield from self._source.skip_space()
        return bool(first) and first in self._grammar.first_chars

    def _find_mark(self) -> Reading[bool]:
        """Move to the next mark, giving out the text before; False where there is none."""
        source = self._source
        while (found := self._mark.search(source.text, source.at)) is None:
            source.at = max(source.at, len(source.text) - num_undecided(source.text, self._grammar.marks))
            self._give_content()
            if not (yield from source.more()):
                source.at = len(source.text)
                self._give_content()
                return False
        source.at = found.start()
        return True

    def _give_content(self) -> None:
        if text := self._source.take():
            self._events.append(Content(text))


def num_undecided(text: str, marks: Sequence[str]) -> int:
    """How many characters at the end of `text` may be the beginning of a mark."""
    longest = max(map(len, marks), default=1) - 1
    ends = (text[start:] for start in range(max(0, len(text) - longest), len(text)))
    return next((len(end) for end in ends if any(mark.startswith(end) for mark in marks)), 0)
