"""Qwen3-Coder: `<tool_call><function=name><parameter=key>value</parameter>...</function></tool_call>`.

Source: the model's chat template. One line break on each side of a value is layout. The outer tags may be missing, as
the model sometimes forgets them.
"""

import re
from collections.abc import Mapping

import msgspec

from llama4coder.server.reply.events import ToolCall
from llama4coder.server.reply.schema_values import typed_value
from llama4coder.server.reply.source import NotACallError, Reading, Source

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_FUNCTION, _FUNCTION_END = "<function=", "</function>"
_PARAMETER, _PARAMETER_END = "<parameter=", "</parameter>"
_NAME = re.compile(r"[^<>\s]*")


class QwenXmlGrammar:
    """See `Grammar`."""

    marks = (_OPEN, _FUNCTION)
    first_chars = ""
    inner_marks = (_CLOSE, _FUNCTION_END, _PARAMETER, _PARAMETER_END)

    def __init__(self, schemas: Mapping[str, Mapping[str, object]]) -> None:
        self._schemas = schemas

    def calls(self, source: Source) -> Reading[tuple[ToolCall, ...]]:
        yield from source.takes(_OPEN)
        yield from source.skip_space()
        yield from source.expect(_FUNCTION)
        name = yield from _name(source)
        values = yield from self._values(source, self._schemas.get(name, {}))
        yield from source.skip_space()
        yield from source.takes(_CLOSE)
        return (ToolCall(name, msgspec.json.encode(values).decode()),)

    def _values(self, source: Source, schema: Mapping[str, object]) -> Reading[dict[str, object]]:
        values: dict[str, object] = {}
        properties = schema.get("properties")
        declared = properties if isinstance(properties, dict) else {}
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
