"""Mistral: `[TOOL_CALLS] [{"name": ..., "arguments": {...}}, ...]`, or since 2025 `[TOOL_CALLS]name[ARGS]{...}`.

The newer form comes once per call, and may hold `[CALL_ID]` and an id. Source: mistral-common's tokenizer versions.
"""

import re

from llama4coder.server.reply.brackets import json_value
from llama4coder.server.reply.events import ToolCall
from llama4coder.server.reply.json_calls import json_call, json_call_list, named_call
from llama4coder.server.reply.source import Reading, Source

_OPEN, _ID, _ARGUMENTS = "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"
_WORD = re.compile(r"[\w.-]*")


class MistralGrammar:
    """See `Grammar`."""

    marks = (_OPEN,)
    first_chars = ""
    inner_marks = (_ID, _ARGUMENTS)

    def calls(self, source: Source) -> Reading[tuple[ToolCall, ...]]:
        yield from source.expect(_OPEN)
        first = yield from source.skip_space()
        if first == "[":
            return json_call_list((yield from json_value(source)))
        if first == "{":  # of a single call some models forget the list
            return (json_call((yield from json_value(source))),)
        name = yield from source.matches(_WORD)
        if (yield from source.takes(_ID)):
            yield from source.matches(_WORD)
        yield from source.takes(_ARGUMENTS)
        yield from source.skip_space()
        return (named_call(name, (yield from json_value(source))),)
