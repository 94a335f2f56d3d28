"""Hermes 2 Pro and later, Qwen2.5 and Qwen3: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.

Source: the chat templates of these models. A closing tag may be missing where the answer ends.
"""

from llama4coder.constraint.lark import Lark, literal, one_of, several
from llama4coder.server.reply.brackets import json_value
from llama4coder.server.reply.events import ToolCall
from llama4coder.server.reply.grammar import CallForms, CallLimits
from llama4coder.server.reply.json_calls import json_call, written_call
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

    def forms(self, lark: Lark, limits: CallLimits) -> CallForms:
        calls = one_of(written_call(lark, tool, "arguments") for tool in limits.tools)
        line = literal("\n")
        behind = lark.rule(f"{line} {calls} {line} {lark.mark(_CLOSE)}")
        alone = several(f"{lark.mark(_OPEN)} {behind}", line, limits.max_calls)
        return CallForms(alone, {_OPEN: behind})
