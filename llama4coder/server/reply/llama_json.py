"""Llama 3.1 and later: `{"name": ..., "parameters": {...}}` as the whole answer, or behind `<|python_tag|>`.

Several are separated by semicolons, or by white space. Source: Meta's prompt formats and the chat templates. Nothing
may follow them; and as an answer may be such JSON itself, only tools that were offered count where there is no tag.
"""

from llama4coder.constraint.lark import Lark, literal, one_of, several
from llama4coder.server.reply.brackets import json_value
from llama4coder.server.reply.events import ToolCall
from llama4coder.server.reply.grammar import CallForms, CallLimits
from llama4coder.server.reply.json_calls import check_offered, json_call, written_call
from llama4coder.server.reply.source import Reading, Source

_TAG = "<|python_tag|>"


class LlamaJsonGrammar:
    """See `Grammar`."""

    marks = (_TAG,)
    first_chars = "{"
    inner_marks = ()

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def calls(self, source: Source) -> Reading[tuple[ToolCall, ...]]:
        calls: list[ToolCall] = []
        has_tag = yield from source.takes(_TAG)
        while (yield from source.skip_space()) or not calls:
            calls.append(json_call((yield from json_value(source))))
            if not has_tag:
                check_offered(calls, self._names)
            yield from source.skip_space()
            yield from source.takes(";")
        return tuple(calls)

    def forms(self, lark: Lark, limits: CallLimits) -> CallForms:
        call = lark.rule(one_of(written_call(lark, tool, "parameters") for tool in limits.tools))
        calls = lark.rule(several(call, literal("; "), limits.max_calls))
        return CallForms(
            f"({lark.mark(_TAG)})? {calls}", {_TAG: calls}, bare=calls, bare_openings=("{",), are_last=True
        )
