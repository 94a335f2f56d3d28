"""Llama 4 and some models of Llama 3: `[name(key=value, ...), ...]`, Python's syntax, as the whole answer.

Llama 4 may write `<|python_start|>` before and `<|python_end|>` after. Source: Meta's prompt formats. Nothing may
follow; and as an answer may be a list itself, only tools that were offered count where it is not marked.
"""

import ast
import json

from llama4coder.server.reply.brackets import python_list
from llama4coder.server.reply.events import ToolCall
from llama4coder.server.reply.json_calls import check_offered
from llama4coder.server.reply.source import NotACallError, Reading, Source

_OPEN, _CLOSE = "<|python_start|>", "<|python_end|>"
# What Python's parser and `literal_eval` raise for text that is no expression, or too deep, and JSON for its values.
_BAD_PYTHON = (SyntaxError, ValueError, TypeError, RecursionError, MemoryError)


class PythonicGrammar:
    """See `Grammar`."""

    marks = (_OPEN,)
    first_chars = "["
    inner_marks = (_CLOSE,)

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def calls(self, source: Source) -> Reading[tuple[ToolCall, ...]]:
        has_mark = yield from source.takes(_OPEN)
        yield from source.skip_space()
        calls = _parse((yield from python_list(source)))
        if not has_mark:
            check_offered(calls, self._names)
        yield from source.skip_space()
        yield from source.takes(_CLOSE)
        if (yield from source.skip_space()):
            raise NotACallError
        return calls


def _parse(text: str) -> tuple[ToolCall, ...]:
    try:
        match ast.parse(text, mode="eval").body:
            case ast.List(elts=[*items]) if items:
                return tuple(map(_to_call, items))
    except _BAD_PYTHON:
        pass
    raise NotACallError


def _to_call(item: ast.expr) -> ToolCall:
    match item:
        case ast.Call(func=ast.Name() | ast.Attribute() as name, args=[], keywords=keywords):
            values = {_keyword(entry): ast.literal_eval(entry.value) for entry in keywords}
        case _:
            raise NotACallError
    arguments = json.dumps(values, ensure_ascii=False, allow_nan=False)
    arguments.encode()  # half of a surrogate pair, which Python can spell, is a ValueError here
    return ToolCall(ast.unparse(name), arguments)


def _keyword(entry: ast.keyword) -> str:
    if entry.arg is None:  # `**values`
        raise NotACallError
    return entry.arg
