"""Reading a reply in a test: whole, or cut anywhere; and writing calls as each family does."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from llama4coder.server.reply.events import Content, Event, Reasoning, ToolCall
from llama4coder.server.reply.grammar import Grammar
from llama4coder.server.reply.hermes import HermesGrammar
from llama4coder.server.reply.llama_json import LlamaJsonGrammar
from llama4coder.server.reply.mistral import MistralGrammar
from llama4coder.server.reply.pythonic import PythonicGrammar
from llama4coder.server.reply.qwen_xml import QwenXmlGrammar
from llama4coder.server.reply.reply import ReplyFormat

Arguments = Mapping[str, object]
Call = tuple[str, Arguments]

NAMES = frozenset({"f", "g", "read_file"})
SCHEMAS: Mapping[str, Mapping[str, object]] = {
    "f": {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "count": {"type": "integer"},
            "flag": {"type": "boolean"},
            "items": {"type": "array"},
            "maybe": {"type": ["string", "null"]},
            "either": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "free": {},
            "odd": True,
        },
    },
    "g": {"type": "object", "properties": 5},
}


def _hermes(calls: Sequence[Call]) -> str:
    return "\n".join(
        f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>" for name, arguments in calls
    )


def _qwen_xml(calls: Sequence[Call]) -> str:
    def parameters(arguments: Arguments) -> str:
        return "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in arguments.items())

    return "\n".join(
        f"<tool_call>\n<function={name}>\n{parameters(arguments)}</function>\n</tool_call>" for name, arguments in calls
    )


def _llama_json(calls: Sequence[Call]) -> str:
    return "; ".join(json.dumps({"name": name, "parameters": arguments}) for name, arguments in calls)


def _mistral_list(calls: Sequence[Call]) -> str:
    written = [{"name": name, "arguments": arguments, "id": "abcdefghi"} for name, arguments in calls]
    return f"[TOOL_CALLS] {json.dumps(written)}"


def _mistral(calls: Sequence[Call]) -> str:
    return "".join(f"[TOOL_CALLS]{name}[ARGS]{json.dumps(arguments)}" for name, arguments in calls)


def _pythonic(calls: Sequence[Call]) -> str:
    written = (f"{name}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})" for name, arguments in calls)
    return f"[{', '.join(written)}]"


@dataclass(frozen=True)
class Family:
    """A grammar, how its models write calls, and pieces that its texts are made of, good or bad."""

    grammar: Grammar
    write: Callable[[Sequence[Call]], str]
    pieces: tuple[str, ...]
    needs_whole_answer: bool = False  # calls are the whole answer
    only_texts: bool = False  # arguments are bare texts


_JSON_PIECES = (
    *('{"name": "f", "arguments": {}}', '{"name": "f", "arguments": {"a": [1, "}"]}}', '{"name": "f"}', "{", "}"),
    *('{"name": "f", "parameters": {"a": "\\""}}', '{"name": "z", "parameters": {}}', '"', "\\", "[", "]", "nul", ";"),
)
FAMILIES: Mapping[str, Family] = {
    "hermes": Family(
        HermesGrammar(NAMES), _hermes, ("<tool_call>", "</tool_call>", "<tool_", "```json\n", "```", *_JSON_PIECES)
    ),
    "qwen_xml": Family(
        QwenXmlGrammar(SCHEMAS),
        _qwen_xml,
        (
            *("<tool_call>", "</tool_call>", "<function=f>", "<function=", "</function>", "<parameter=count>"),
            *("<parameter=text>", "</parameter>", "12", ">", "<function=g></function>"),
        ),
        only_texts=True,
    ),
    "llama_json": Family(
        LlamaJsonGrammar(NAMES), _llama_json, ("<|python_tag|>", "<|python_", *_JSON_PIECES), needs_whole_answer=True
    ),
    "mistral_list": Family(MistralGrammar(), _mistral_list, ("[TOOL_CALLS]", "[TOOL_", *_JSON_PIECES)),
    "mistral": Family(
        MistralGrammar(), _mistral, ("[TOOL_CALLS]", "[TOOL_CALLS]f", "[CALL_ID]", "[ARGS]", "[ARGS]{}", *_JSON_PIECES)
    ),
    "pythonic": Family(
        PythonicGrammar(NAMES),
        _pythonic,
        (
            *("<|python_start|>", "<|python_end|>", "[f()]", "[", "]", "f(", "a=1", ")", "g(a='x')", ",", "'", '"'),
            *("z()", "**a", "f(1)", "{1}", "b'x'", "\\", "1e999", "'\\ud800'"),
        ),
        needs_whole_answer=True,
    ),
}


def read(reply_format: ReplyFormat, pieces: Sequence[str]) -> list[Event]:
    """The events of a reply that comes in `pieces`, neighbouring texts joined."""
    parser = reply_format.parser()
    events = [event for piece in pieces for event in parser.push(piece)] + parser.finish()
    joined: list[Event] = []
    for event in events:
        if joined and not isinstance(event, ToolCall) and type(joined[-1]) is type(event):
            last = joined.pop()
            assert isinstance(last, Content | Reasoning)
            event = type(event)(last.text + event.text)
        joined.append(event)
    return joined


def cut(text: str, places: Sequence[int]) -> list[str]:
    """The text in pieces that end at `places`, in any order."""
    ends = sorted(place % (len(text) + 1) for place in places)
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


def calls_of(events: Sequence[Event]) -> list[Call]:
    """The calls among the events, their arguments decoded."""
    return [(event.name, json.loads(event.arguments)) for event in events if isinstance(event, ToolCall)]


def content_of(events: Sequence[Event]) -> str:
    """The content among the events."""
    return "".join(event.text for event in events if isinstance(event, Content))


def reasoning_of(events: Sequence[Event]) -> str:
    """The reasoning among the events."""
    return "".join(event.text for event in events if isinstance(event, Reasoning))
