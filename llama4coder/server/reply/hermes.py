"""Hermes 2 Pro and later, Qwen2.5 and Qwen3: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.

Source: the chat templates of these models. A closing tag may be missing where the answer ends.
"""

from llama4coder.server.reply.brackets import json_value
from llama4coder.server.reply.events import ToolCall
from llama4coder.server.reply.json_calls import json_call
from llama4coder.server.reply.source import Reading, Source

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"


class HermesGrammar:
    """See `Grammar`."""

    marks = (_OPEN,)
    first_chars = ""
    inner_marks = (_CLOSE,)

    def calls(self, source: Source) -> Reading[tuple[ToolCall, ...]]:
        yield from source.expect(_OPEN)
        yield from source.skip_space()
        call = json_call((yield from json_value(source)))
        if (yield from source.skip_space()):
            yield from source.expect(_CLOSE)
        return (call,)
