"""Qwen3-Coder: `<tool_call><function=name><parameter=key>value</parameter>...</function></tool_call>`.

Source: the model's chat template. One line break on each side of a value is layout. The outer tags may be missing, as
the model sometimes forgets them.
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

from llama4coder.constraint.bad_grammar import BadGrammar
from llama4coder.constraint.lark import Lark, holding, literal, one_of, several
from llama4coder.server.reply.events import ToolCall
from llama4coder.server.reply.grammar import CallForms, CallLimits
from llama4coder.server.reply.properties import Property, check_held, properties_of
from llama4coder.server.reply.schema_values import typed_value, types_of
from llama4coder.server.reply.source import NotACallError, Reading, Source
from llama4coder.server.tools import Tool

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_FUNCTION, _FUNCTION_END = "<function=", "</function>"
_PARAMETER, _PARAMETER_END = "<parameter=", "</parameter>"
_LINE_AND_FUNCTION = f"\n{_FUNCTION}"
_NAME = re.compile(r"[^<>\s]*")
_LINE = literal("\n")
# Keywords that bare text can be held to, or that say nothing about it.
_HELD = frozenset(("type", "enum", "const", "minLength", "maxLength", "anyOf", "oneOf", "$defs", "definitions"))
_SAYS_NOTHING = frozenset(("title", "description", "default", "examples", "deprecated", "$comment"))


class QwenXmlGrammar:
    """See `Grammar`."""

    marks = (_OPEN, _FUNCTION)
    first_chars = ""
    inner_marks = (_CLOSE, _FUNCTION_END, _PARAMETER, _PARAMETER_END)

    def __init__(self, schemas: Mapping[str, Mapping[str, object]]) -> None:
        self._schemas = {
            name: {one.name: one.schema for one in properties_of(parameters)} for name, parameters in schemas.items()
        }

    def calls(self, source: Source) -> Reading[tuple[ToolCall, ...]]:
        yield from source.takes(_OPEN)
        yield from source.skip_space()
        yield from source.expect(_FUNCTION)
        name = yield from _name(source)
        values = yield from self._values(source, self._schemas.get(name, {}))
        yield from source.skip_space()
        yield from source.takes(_CLOSE)
        return (ToolCall(name, msgspec.json.encode(values).decode()),)

    def forms(self, lark: Lark, limits: CallLimits) -> CallForms:
        functions = lark.rule(one_of(_function(lark, tool) for tool in limits.tools))
        behind = lark.rule(f"{literal(_LINE_AND_FUNCTION)} {functions} {_LINE} {lark.mark(_CLOSE)}")
        alone = several(f"{lark.mark(_OPEN)} {behind}", _LINE, limits.max_calls)
        return CallForms(alone, {_OPEN: behind, _FUNCTION: functions})

    def _values(self, source: Source, declared: Mapping[str, Mapping[str, object]]) -> Reading[dict[str, object]]:
        values: dict[str, object] = {}
        while True:
            yield from source.skip_space()
            if (yield from source.takes(_FUNCTION_END)):
                return values
            yield from source.expect(_PARAMETER)
            key = yield from _name(source)
            text = yield from source.until(_PARAMETER_END)
            values[key] = typed_value(text.removeprefix("\n").removesuffix("\n"), declared.get(key))


def _name(source: Source) -> Reading[str]:
    """The rest of a tag with a name."""
    name = yield from source.matches(_NAME)
    yield from source.expect(">")
    if not name:
        raise NotACallError
    return name


def _function(lark: Lark, tool: Tool) -> str:
    """What follows `<function=`."""
    check_held(tool)
    parameters = " ".join(_parameter(lark, one, is_strict=tool.strict) for one in properties_of(tool.parameters))
    return f"{_begun(tool.name)} {parameters} {lark.mark(_FUNCTION_END)}"


def _begun(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise BadGrammar("this model has no way to write the name of a tool or of an argument")
    return literal(f"{name}>\n")


def _parameter(lark: Lark, one: Property, *, is_strict: bool) -> str:
    end = f"{_LINE} {lark.mark(_PARAMETER_END)}"
    types = types_of(one.schema)
    if types and "string" not in types:
        value = f"{lark.json(one.schema, lenient=not is_strict)} {end}"
    elif choices := _choices(one.schema):
        value = f"{one_of(map(literal, choices))} {end}"
    else:
        value = _text(lark, one.schema, is_strict=is_strict)
    written = lark.rule(f"{literal(_PARAMETER)} {_begun(one.name)} {value} {_LINE}")
    return written if one.is_required else f"({written})?"


def _choices(schema: Mapping[str, object]) -> tuple[str, ...]:
    """The texts of an enumeration; what else it names could not be told from them."""
    named = schema.get("enum", [schema["const"]] if "const" in schema else [])
    values: Iterable[object] = named if isinstance(named, list) else []
    return tuple(value for value in values if isinstance(value, str) and value and _PARAMETER_END not in value)


def _text(lark: Lark, schema: Mapping[str, object], *, is_strict: bool) -> str:
    """Bare text up to the end of the parameter."""
    options = schema.get("anyOf") or schema.get("oneOf") or []
    each = [schema, *(option for option in options if isinstance(option, dict))] if isinstance(options, list) else []
    if is_strict and any(one.keys() - _HELD - _SAYS_NOTHING for one in each):
        raise BadGrammar(
            "bare text, which is how this model writes a string, can only be held to a length or an 'enum'"
        )
    least, most = schema.get("minLength", 0), schema.get("maxLength", "")
    body = f"(/(?s:.{{{least},{most}}})/ {_LINE})"
    return lark.through(_PARAMETER_END, (holding((_PARAMETER_END,)),), body)
