"""Whatever a family's grammar lets a model write, the family's own reader reads as calls that match the schemas."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random

import jsonschema
import pytest

from llama4coder.constraint.bad_grammar import BadGrammar
from llama4coder.constraint.check import check_grammar
from llama4coder.constraint.lark import Lark
from llama4coder.server.answer_format import JsonSchema
from llama4coder.server.output_language import Calls, OutputLanguage, Thinking
from llama4coder.server.reply.events import Content, Event, Reasoning, ToolCall
from llama4coder.server.reply.grammar import CallLimits, Grammar
from llama4coder.server.reply.hermes import HermesGrammar
from llama4coder.server.reply.llama_json import LlamaJsonGrammar
from llama4coder.server.reply.mistral import MistralGrammar
from llama4coder.server.reply.pythonic import PythonicGrammar
from llama4coder.server.reply.qwen_xml import QwenXmlGrammar
from llama4coder.server.reply.reply import ReplyFormat
from llama4coder.server.reply.thinking import ThinkMarks
from llama4coder.server.tools import Tool
from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.server.tool_sites import MARKERS
from tests.support.grammar_walks import Walker
from tests.support.tiny import write_tiny_tokenizer

TEXT = {"type": "string", "maxLength": 9}
WEATHER = {
    "type": "object",
    "properties": {
        "city": TEXT,
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "unit": {"enum": ["C", "F"], "type": "string"},
        "exact": {"type": "boolean"},
        "where": {"$ref": "#/$defs/place"},
        "why": {"anyOf": [{"type": "string", "maxLength": 4}, {"type": "null"}]},
    },
    "required": ["days", "unit"],
    "additionalProperties": False,
    "$defs": {
        "place": {
            "type": "object",
            "properties": {"lat": {"type": "integer"}, "known": {"type": ["boolean", "null"]}},
            "required": ["lat", "known"],
            "additionalProperties": False,
        }
    },
}
NOTHING: Mapping[str, object] = {"type": "object", "properties": {}, "additionalProperties": False}
TOOLS = (Tool("weather", None, WEATHER, True), Tool("stop", None, NOTHING, True))
SCHEMAS = {tool.name: tool.parameters for tool in TOOLS}
FAMILIES: Mapping[str, Grammar] = {
    "hermes": HermesGrammar(frozenset(SCHEMAS)),
    "qwen_xml": QwenXmlGrammar(SCHEMAS),
    "llama_json": LlamaJsonGrammar(frozenset(SCHEMAS)),
    "pythonic": PythonicGrammar(frozenset(SCHEMAS)),
    "mistral": MistralGrammar(),
}
BEGUN = {
    "hermes": "so: <tool_call>",
    "qwen_xml": "so: <function=",
    "llama_json": "so: <|python_tag|>",
    "pythonic": "so: <|python_start|>",
    "mistral": "so: [TOOL_CALLS]",
}
THINK = ThinkMarks("<think>", "</think>")


@pytest.fixture(scope="module", params=["special", "added", "text"])
def walker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Walker:
    """Over a vocabulary that has the markers as special tokens, or as tokens, or not at all."""
    folder = tmp_path_factory.mktemp("tokens")
    markers = () if request.param == "text" else MARKERS
    write_tiny_tokenizer(folder, markers, declared=request.param == "special")
    return Walker(Tokenizer.from_folder(folder))


def language(family: str, *, required: bool = True, max_calls: int | None = None, **more: object) -> OutputLanguage:
    calls = Calls(FAMILIES[family], CallLimits(TOOLS, max_calls), required)
    return OutputLanguage(**{"answer_format": None, "calls": calls, "thinking": None} | more)  # type: ignore[arg-type]


def read(family: str, text: str, *, thinks: bool = False) -> list[Event]:
    parser = ReplyFormat(FAMILIES[family], THINK if thinks else None).parser()
    return parser.push(text) + parser.finish()


def checked_calls(events: list[Event]) -> list[ToolCall]:
    calls = [event for event in events if isinstance(event, ToolCall)]
    for call in calls:
        jsonschema.validate(json.loads(call.arguments), SCHEMAS[call.name])
    return calls


def outputs(walker: Walker, asked: OutputLanguage, begun: str = "", number: int = 10) -> Iterator[str]:
    constraint = asked.constraint(Lark(walker.tokenizer.special_id_of))
    check_grammar(walker.vocabulary, constraint)
    found = (walker.walk(constraint, Random(seed), begun) for seed in range(4 * number))
    whole = [output for output in found if output is not None][:number]
    assert len(whole) == number, "few outputs come to an end"
    yield from whole


@pytest.mark.parametrize("family", FAMILIES)
def test_forced_calls_are_read_as_such(walker: Walker, family: str) -> None:
    seen: set[str] = set()
    for text in outputs(walker, language(family)):
        events = read(family, text)
        assert checked_calls(events) == events and events, text
        seen |= {call.name for call in checked_calls(events)}
    assert seen == SCHEMAS.keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_one_call_is_one(walker: Walker, family: str) -> None:
    for text in outputs(walker, language(family, max_calls=1), number=3):
        assert len(checked_calls(read(family, text))) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_call_that_has_begun_in_free_text_is_one(walker: Walker, family: str) -> None:
    asked = language(family, required=False)
    for text in outputs(walker, asked, BEGUN[family], number=3):
        events = read(family, text)
        assert isinstance(events[0], Content) and events[0].text == "so:"
        assert checked_calls(events), text


@pytest.mark.parametrize(("family", "begun"), [("hermes", "```json"), ("hermes", "{"), ("llama_json", "{")])
def test_what_begins_as_bare_calls_is_held_to_them(walker: Walker, family: str, begun: str) -> None:
    asked = language(family, required=False)
    for text in outputs(walker, asked, begun, number=3):
        events = read(family, text)
        assert checked_calls(events) == events and events, text


def test_fences_of_other_languages_stay_text(walker: Walker) -> None:
    asked = language("hermes", required=False).constraint(Lark(walker.tokenizer.special_id_of))
    assert walker.accepts(asked, "```python\nx = {}\n```")
    assert not walker.accepts(asked, "```json\n[1]")


@pytest.mark.parametrize("family", FAMILIES)
def test_free_text_stays_free(walker: Walker, family: str) -> None:
    asked = language(family, required=False).constraint(Lark(walker.tokenizer.special_id_of))
    for text in ("", "Hello.\n\n", " x {}[]<tool_cal", "def f():\n    return [1]", "é 😀 \\"):
        assert walker.accepts(asked, text)
        assert not checked_calls(read(family, text))
    for bad in (BEGUN[family], BEGUN[family] + "\n{", BEGUN[family] + " no"):
        assert not walker.accepts(asked, bad)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_may_think_before(walker: Walker, family: str) -> None:
    for is_open in (False, True):
        asked = language(family, thinking=Thinking(THINK, is_open))
        begun = "hm, {or} [f()]</think>" if is_open else "<think>hm, {or} [f()]</think>\n\n"
        for text in outputs(walker, asked, begun, number=2):
            parser = ReplyFormat(FAMILIES[family], THINK, is_open).parser()
            events = parser.push(text) + parser.finish()
            assert isinstance(events[0], Reasoning)
            assert checked_calls(events) == events[1:] and events[1:], text


@pytest.mark.parametrize("family", FAMILIES)
def test_free_text_may_follow_a_thought(walker: Walker, family: str) -> None:
    asked = language(family, required=False, thinking=Thinking(THINK, False))
    constraint = asked.constraint(Lark(walker.tokenizer.special_id_of))
    check_grammar(walker.vocabulary, constraint)
    for text in ("<think>a [f()] b</think>\n\nfine", "fine", "<think>[</think>"):
        assert walker.accepts(constraint, text)
    assert not walker.accepts(constraint, "<think>no end")


@pytest.mark.parametrize("family", FAMILIES)
def test_with_a_format_an_output_is_that_or_calls(walker: Walker, family: str) -> None:
    answer = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    asked = language(family, required=False, answer_format=JsonSchema(answer))
    kinds: set[type[Event]] = set()
    for text in outputs(walker, asked, number=6):
        events = read(family, text)
        kinds |= {type(event) for event in events}
        if isinstance(events[0], Content):
            jsonschema.validate(json.loads(events[0].text), answer)
        else:
            assert checked_calls(events) == events
    assert kinds <= {Content, ToolCall} and ToolCall in kinds


@pytest.mark.parametrize(
    ("family", "tool"),
    [
        ("pythonic", Tool("read-file", None, NOTHING)),
        ("pythonic", Tool("f", None, {"properties": {"class": TEXT}})),
        ("pythonic", Tool("f", None, {"properties": {"a": TEXT}, "minProperties": 1}, True)),
        ("pythonic", Tool("f", None, {"properties": {"a": TEXT}, "required": ["b"]}, True)),
        ("qwen_xml", Tool("a b", None, NOTHING)),
        ("qwen_xml", Tool("f", None, {"properties": {"a": {"type": "string", "pattern": "x"}}}, True)),
        ("mistral", Tool("é!", None, NOTHING)),
    ],
)
def test_what_a_family_cannot_write_is_refused(tmp_path: Path, family: str, tool: Tool) -> None:
    write_tiny_tokenizer(tmp_path, MARKERS)
    lark = Lark(Tokenizer.from_folder(tmp_path).special_id_of)
    with pytest.raises(BadGrammar):
        FAMILIES[family].forms(lark, CallLimits((tool,), None))
