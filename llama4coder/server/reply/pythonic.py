"""Llama 4 and some models of Llama 3: `[name(key=value, ...), ...]`, Python's syntax, as the whole answer.

Llama 4 may write `<|python_start|>` before and `<|python_end|>` after. Source: Meta's prompt formats. Nothing may
follow; and as an answer may be a list itself, only tools that were offered count where it is not marked.
"""

import ast
import json
import keyword
from collections.abc import Sequence

from llama4coder.constraint.bad_grammar import BadGrammar
from llama4coder.constraint.lark import Lark, literal, one_of, several
from llama4coder.server.reply.brackets import python_list
from llama4coder.server.reply.events import ToolCall
from llama4coder.server.reply.grammar import CallForms, CallLimits
from llama4coder.server.reply.json_calls import check_offered
from llama4coder.server.reply.properties import Property, check_held, properties_of
from llama4coder.server.reply.source import NotACallError, Reading, Source
from llama4coder.server.tools import Tool

_JSON_WORDS = {"true": True, "false": False, "null": None}
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

    def forms(self, lark: Lark, limits: CallLimits) -> CallForms:
        """Values are written as JSON, which `_JsonWords` makes Python."""
        call = lark.rule(one_of(_call(lark, tool) for tool in limits.tools))
        calls = lark.rule(f"{literal('[')} {several(call, literal(', '), limits.max_calls)} {literal(']')}")
        marked = f"{calls} {lark.mark(_CLOSE)}"
        return CallForms(
            one_of((calls, f"{lark.mark(_OPEN)} {marked}")),
            {_OPEN: marked},
            bare=calls,
            bare_openings=("[",),
            are_last=True,
        )


def _parse(text: str) -> tuple[ToolCall, ...]:
    try:
        match _JsonWords().visit(ast.parse(text, mode="eval")).body:
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


class _JsonWords(ast.NodeTransformer):
    """Some models write JSON's words for Python's, and outputs that are held to a schema do."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_JSON_WORDS[node.id]) if node.id in _JSON_WORDS else node


def _call(lark: Lark, tool: Tool) -> str:
    check_held(tool)
    if not all(map(_is_name, (*tool.name.split("."), *(one.name for one in properties_of(tool.parameters))))):
        raise BadGrammar("this model has no way to write the name of a tool or of an argument")
    arguments = _arguments(lark, properties_of(tool.parameters), is_strict=tool.strict)
    return f"{literal(tool.name + '(')} {arguments} {literal(')')}"


def _is_name(text: str) -> bool:
    return text.isidentifier() and text.isascii() and not keyword.iskeyword(text)


def _arguments(lark: Lark, properties: Sequence[Property], *, is_strict: bool) -> str:
    """Those that may be left out, may be; from the last one on, since what comes before decides about the comma."""
    first, later = "", ""  # what may come where nothing has been written, and where something has
    for one in reversed(properties):
        value = lark.json(one.schema, lenient=not is_strict)
        written = lark.rule(f"{literal(one.name + '=')} {value} {later}")
        if one.is_required:
            first, later = written, lark.rule(f"{literal(', ')} {written}")
        else:
            first = lark.rule(f"{written} | {first}" if first else f"{written}?")
            later = lark.rule(f"{literal(', ')} {written} | {later}" if later else f"({literal(', ')} {written})?")
    return first
