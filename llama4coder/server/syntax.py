"""Where an answer that fills a hole should end, by the syntax of the file with it: tree-sitter's grammars decide.

Two things are wrong with answers that a model did not end well: what it began last is broken off, or it went on after
what it was in was complete.
"""

import re
from collections.abc import Iterable, Iterator

from tree_sitter import Node, Parser

from llama4coder.server.languages import parser_of

_LINE_END = re.compile(r"[ \t]*\n")
_CLOSERS = " \t)]}:;,'\"`"  # what an answer likes to repeat of a suffix
_MAX_NEAR_CHARS = 256 * 1024  # of the file on either side of the hole; what is farther says little, and takes time
_MAX_PARSED_BYTES = 4 * 1024 * 1024  # some 0.5 s; each end that is tried costs one parse of the file
_MAX_TRIES = 64
_BODIES = ("block", "body", "declaration_list", "compound_statement")


def cut_at_syntax(prefix: str, answer: str, suffix: str, language: str) -> int:
    """How many characters of the answer to keep, so that the file has the fewest errors and no block is left.

    Of the ends that leave the fewest errors, the last one wins; but where the innermost definition or statement with a
    body that the hole is in ends within the answer, so does the answer, unless that would leave more errors. Ends are
    the answer's own, those of its lines, and those before closing signs there. `language` is one of `LANGUAGES`.
    """
    file = _File(parser_of(language), prefix, answer, suffix)
    whole = file.best(_ends(answer, len(answer)))
    limit = file.container_end(whole)
    if limit >= whole:
        return whole
    inside = file.best(_ends(answer, limit))
    return inside if file.num_errors(inside) <= file.num_errors(whole) else whole


def _ends(answer: str, limit: int) -> Iterator[int]:
    """From the last one on."""
    yield limit
    after = _LINE_END.match(answer, limit)
    if after is not None:
        yield after.end()
    line_end = limit
    while line_end > 0:
        end = line_end
        while end > 0 and answer[end - 1] in _CLOSERS:
            end -= 1
            if end == 0 or not answer[end - 1].isspace():
                yield end
        line_end = answer.rfind("\n", 0, line_end)
        if line_end > 0:
            yield line_end
    yield 0


class _File:
    """A file with a beginning of the answer in its hole; remembers how many errors it had with each."""

    def __init__(self, parser: Parser, prefix: str, answer: str, suffix: str) -> None:
        self._parser = parser
        self._answer = answer
        # Half a surrogate pair cannot be encoded, and is no syntax.
        self._before = prefix[-_MAX_NEAR_CHARS:].encode("utf-8", "replace")
        self._after = suffix[:_MAX_NEAR_CHARS].encode("utf-8", "replace")
        self._num_errors: dict[int, int] = {}
        self._num_parsed_bytes = 0

    def num_errors(self, length: int) -> int:
        """Errors in the file with so many characters of the answer."""
        if length not in self._num_errors:
            self._num_errors[length] = _num_errors(self._parse(length))
        return self._num_errors[length]

    def best(self, ends: Iterable[int]) -> int:
        """The first with the fewest errors, of as many as may be tried."""
        found = fewest = -1
        for end in ends:
            if found < 0 or self.num_errors(end) < fewest:
                found, fewest = end, self.num_errors(end)
            if fewest == 0 or self._has_tried_enough():
                break
        return found

    def _has_tried_enough(self) -> bool:
        return len(self._num_errors) >= _MAX_TRIES or self._num_parsed_bytes >= _MAX_PARSED_BYTES

    def container_end(self, length: int) -> int:
        """Where in the answer the innermost node with a body ends that begins before the hole; past it if it does not.

        A body itself may begin at the hole.
        """
        hole = len(self._before)
        node: Node | None = self._parse(length)
        container_end = -1
        while node is not None:
            if node.parent is not None and any(child.type.endswith(_BODIES) for child in node.children):
                container_end = node.end_byte
            node = next((child for child in node.children if child.start_byte < hole < child.end_byte), None)
        if container_end < 0:
            return length
        return len(self._bytes(length)[: container_end - hole].decode("utf-8", "ignore"))

    def _parse(self, length: int) -> Node:
        source = self._before + self._bytes(length) + self._after
        self._num_parsed_bytes += len(source)
        return self._parser.parse(source).root_node

    def _bytes(self, length: int) -> bytes:
        return self._answer[:length].encode("utf-8", "replace")


def _num_errors(root: Node) -> int:
    number = 0
    nodes = [root]
    while nodes:
        node = nodes.pop()
        if node.has_error:
            number += node.is_error or node.is_missing
            nodes += node.children
    return number
