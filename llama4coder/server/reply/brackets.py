"""Where a bracketed value ends, in JSON or in Python, found in one pass over its text."""

import re

from llama4coder.server.reply.source import NotACallError, Reading, Source, UnfinishedError

_OPENING, _CLOSING = "([{", ")]}"
_JSON = re.compile(r'["{}\[\]]|[^\w\s.,:+-]')  # what matters outside of strings; whatever else is not JSON
_PYTHON = re.compile(r"""["'(){}\[\]]|[^\w\s.,:=+-]""")
_STRING_ENDS = {quote: re.compile(rf"[{quote}\\]") for quote in "\"'"}


def json_value(source: Source) -> Reading[str]:
    """The text of the object or list that begins here, and move past it.

    Raises:
        NotACallError: none begins here, or it holds what no JSON does.
        UnfinishedError: it does not end.
    """
    return (yield from _bracketed(source, _JSON, "{["))


def python_list(source: Source) -> Reading[str]:
    """The same for a list of Python expressions made of names, literals and calls."""
    return (yield from _bracketed(source, _PYTHON, "["))


def _bracketed(source: Source, structure: re.Pattern[str], openings: str) -> Reading[str]:
    start = source.at
    char = yield from source.next_char()
    if not char or char not in openings:
        raise NotACallError
    open_brackets: list[str] = []
    while True:
        char = yield from _next_of(source, structure)
        if char in _STRING_ENDS:
            yield from _skip_string(source, char)
        elif char in _OPENING:
            open_brackets.append(_CLOSING[_OPENING.index(char)])
        elif not open_brackets or open_brackets.pop() != char:
            raise NotACallError
        if not open_brackets:
            return source.text[start : source.at]


def _skip_string(source: Source, quote: str) -> Reading[None]:
    while (yield from _next_of(source, _STRING_ENDS[quote])) == "\\":
        yield from source.next_char()
        source.at += 1


def _next_of(source: Source, pattern: re.Pattern[str]) -> Reading[str]:
    """The next character that `pattern` knows, and move past it."""
    while (found := pattern.search(source.text, source.at)) is None:
        source.at = len(source.text)
        if not (yield from source.more()):
            raise UnfinishedError
    source.at = found.end()
    return found.group()
