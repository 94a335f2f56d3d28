"""Calls written as JSON objects with a name and arguments."""

import json
from collections.abc import Sequence

import msgspec
from msgspec import UNSET, Raw, UnsetType

from llama4coder.constraint.lark import Lark, literal
from llama4coder.server.reply.events import ToolCall
from llama4coder.server.reply.source import NotACallError
from llama4coder.server.tools import Tool


class _Written(msgspec.Struct):
    name: str
    arguments: Raw | UnsetType = UNSET
    parameters: Raw | UnsetType = UNSET  # Llama 3's word


_OBJECT = msgspec.json.Decoder(_Written)
_LIST = msgspec.json.Decoder(list[_Written])
_ARGUMENTS = msgspec.json.Decoder(dict[str, object], float_hook=str)  # any number, however large, is one
_BAD_JSON = (msgspec.DecodeError, RecursionError)


def json_call(text: str) -> ToolCall:
    """One call; `NotACallError` unless the text is an object with a name and an object of arguments."""
    try:
        written = _OBJECT.decode(text)
    except _BAD_JSON:
        raise NotACallError from None
    return _to_call(written)


def json_call_list(text: str) -> tuple[ToolCall, ...]:
    """A list of calls; `NotACallError` unless every item is one, or if there is none."""
    try:
        written = _LIST.decode(text)
    except _BAD_JSON:
        raise NotACallError from None
    if not written:
        raise NotACallError
    return tuple(map(_to_call, written))


def _to_call(written: _Written) -> ToolCall:
    arguments = written.parameters if written.arguments is UNSET else written.arguments
    if isinstance(arguments, UnsetType):
        raise NotACallError
    return named_call(written.name, bytes(arguments).decode())


def named_call(name: str, arguments: str) -> ToolCall:
    """A call whose arguments stand apart from its name; `NotACallError` unless it has one and they are an object."""
    if not name:
        raise NotACallError
    try:
        _ARGUMENTS.decode(arguments)
    except _BAD_JSON:
        raise NotACallError from None
    return ToolCall(name, arguments)


def check_offered(calls: Sequence[ToolCall], names: frozenset[str]) -> None:
    """Raise `NotACallError` where a tool was not offered: without a mark, JSON or a list may be the answer itself."""
    if not all(call.name in names for call in calls):
        raise NotACallError


def written_call(lark: Lark, tool: Tool, arguments_key: str) -> str:
    """One call of the tool as templates show it to models, in an expression of `lark`."""
    beginning = f'{{"name": {json.dumps(tool.name, ensure_ascii=False)}, "{arguments_key}": '
    return f"{literal(beginning)} {arguments_of(lark, tool)} {literal('}')}"


def arguments_of(lark: Lark, tool: Tool) -> str:
    """The JSON of the tool's arguments: of a strict one as its schema demands, else as far as that can be held to."""
    return lark.json({**tool.parameters, "type": "object"}, lenient=not tool.strict)
