"""Reading a reply in a test: whole, or cut anywhere."""

import json
from collections.abc import Sequence

from llama4coder.server.reply.events import Content, Event, Reasoning, ToolCall
from llama4coder.server.reply.hermes import HermesGrammar
from llama4coder.server.reply.llama_json import LlamaJsonGrammar
from llama4coder.server.reply.mistral import MistralGrammar
from llama4coder.server.reply.pythonic import PythonicGrammar
from llama4coder.server.reply.qwen_xml import QwenXmlGrammar
from llama4coder.server.reply.reply import ReplyFormat

NAMES = frozenset({"f", "g", "read_file"})
SCHEMAS = {
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
        },
    }
}
GRAMMARS = {
    "hermes": HermesGrammar(),
    "qwen_xml": QwenXmlGrammar(SCHEMAS),
    "llama_json": LlamaJsonGrammar(NAMES),
    "mistral": MistralGrammar(),
    "pythonic": PythonicGrammar(NAMES),
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


def call(name: str, **arguments: object) -> tuple[str, dict[str, object]]:
    """A call as tests compare it."""
    return name, arguments


def calls_of(events: Sequence[Event]) -> list[tuple[str, dict[str, object]]]:
    """The calls among the events, their arguments decoded."""
    return [(event.name, json.loads(event.arguments)) for event in events if isinstance(event, ToolCall)]


def content_of(events: Sequence[Event]) -> str:
    """The content among the events."""
    return "".join(event.text for event in events if isinstance(event, Content))
