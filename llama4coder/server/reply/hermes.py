"""Hermes 2 Pro and later, Qwen2.5 and Qwen3: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.

Source: the chat templates of these models. A closing tag may be missing where the answer ends. Qwen2.5-Coder, whose
template says the same, mostly answers with a fence of JSON or with the bare JSON instead; as that may be the answer
itself, only tools that were offered count there.
"""

from llama4coder.constraint.lark import Lark, literal, one_of, several
from llama4coder.server.reply.brackets import json_value
from llama4coder.server.reply.events import ToolCall
from llama4coder.server.reply.grammar import CallForms, CallLimits
from llama4coder.server.reply.json_calls import check_offered, json_call, written_call
from llama4coder.server.reply.source import Reading, Source

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_FENCE, _FENCE_END = "```json", "```"


class HermesGrammar:
    """See `Grammar`."""

    marks = (_OPEN,)
    first_chars = "`{"
    inner_marks = (_CLOSE,)

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def calls(self, source: Source) -> Reading[tuple[ToolCall, ...]]:
        if not (yield from source.takes(_OPEN)):
            return (yield from self._unmarked_calls(source))
        yield from source.skip_space()
        call = json_call((yield from json_value(source)))
        if (yield from source.skip_space()):
            yield from source.expect(_CLOSE)
        return (call,)

    def _unmarked_calls(self, source: Source) -> Reading[tuple[ToolCall, ...]]:
        calls: list[ToolCall] = []
        has_fence = yield from source.takes(_FENCE)
        while (yield from source.skip_space()) == "{" or not calls:
            calls.append(json_call((yield from json_value(source))))
            check_offered(calls, self._names)
        if has_fence and (yield from source.next_char()):
            yield from source.expect(_FENCE_END)
        return tuple(calls)

    def forms(self, lark: Lark, limits: CallLimits) -> CallForms:
        calls = one_of(written_call(lark, tool, "arguments") for tool in limits.tools)
        line = literal("\n")
        behind = lark.rule(f"{line} {calls} {line} {lark.mark(_CLOSE)}")
        alone = several(f"{lark.mark(_OPEN)} {behind}", line, limits.max_calls)
        bare = lark.rule(several(lark.rule(calls), line, limits.max_calls))
        fenced = f"{literal(_FENCE)} {line} {bare} {line} {literal(_FENCE_END)}"
        return CallForms(alone, {_OPEN: behind}, bare=one_of((bare, fenced)), bare_openings=("{", _FENCE))
