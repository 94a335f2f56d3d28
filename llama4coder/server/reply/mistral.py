"""Mistral: `[TOOL_CALLS] [{"name": ..., "arguments": {...}}, ...]`, or since 2025 `[TOOL_CALLS]name[ARGS]{...}`.

The newer form comes once per call, and may hold `[CALL_ID]` and an id. Source: mistral-common's tokenizer versions.
"""

import re

from llama4coder.constraint.bad_grammar import BadGrammar
from llama4coder.constraint.lark import Lark, literal, one_of, several
from llama4coder.server.reply.brackets import json_value
from llama4coder.server.reply.events import ToolCall
from llama4coder.server.reply.grammar import CallForms, CallLimits
from llama4coder.server.reply.json_calls import arguments_of, json_call, json_call_list, named_call, written_call
from llama4coder.server.reply.source import Reading, Source
from llama4coder.server.tools import Tool

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

    def forms(self, lark: Lark, limits: CallLimits) -> CallForms:
        """The newer form where the vocabulary has its marker."""
        if lark.special_id_of(_ARGUMENTS) is None:
            call = lark.rule(one_of(written_call(lark, tool, "arguments") for tool in limits.tools))
            behind = lark.rule(f"{literal('[')} {several(call, literal(', '), limits.max_calls)} {literal(']')}")
            return CallForms(f"{lark.mark(_OPEN)} {behind}", {_OPEN: behind})
        behind = lark.rule(one_of(_named_call(lark, tool) for tool in limits.tools))
        return CallForms(several(f"{lark.mark(_OPEN)} {behind}", "", limits.max_calls), {_OPEN: behind})


def _named_call(lark: Lark, tool: Tool) -> str:
    if not _WORD.fullmatch(tool.name):
        raise BadGrammar("this model has no way to write the name of a tool")
    return f"{literal(tool.name)} {lark.mark(_ARGUMENTS)} {arguments_of(lark, tool)}"
