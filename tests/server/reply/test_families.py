"""What is particular to each family."""

import pytest

from llama4coder.inspection.template import ToolFormat
from llama4coder.server.reply.events import Content
from llama4coder.server.reply.families import GRAMMARS, think_marks_of
from llama4coder.server.reply.llama_json import LlamaJsonGrammar
from llama4coder.server.reply.reply import ReplyFormat
from llama4coder.server.reply.schema_values import typed_value
from tests.server.reply.reading import FAMILIES, NAMES, calls_of, content_of, read


def found(family: str, text: str) -> tuple[list[tuple[str, object]], str]:
    """Calls and content of a reply."""
    events = read(ReplyFormat(FAMILIES[family].grammar), [text])
    return [*calls_of(events)], content_of(events)


@pytest.mark.parametrize(
    ("family", "text", "calls", "content"),
    [
        ("hermes", '<tool_call>{"name": "f", "arguments": {}}', [("f", {})], ""),
        ("hermes", '<tool_call>{"name": "f", "parameters": {}}</tool_call>', [("f", {})], ""),
        ("hermes", '<tool_call>{"arguments": {}, "name": "unknown"}</tool_call>', [("unknown", {})], ""),
        ("hermes", '<tool_call> x <tool_call>{"name": "f", "arguments": {}}', [("f", {})], "<tool_call> x"),
        ("hermes", '```json\n{"name": "f", "arguments": {"a": 1}}\n```', [("f", {"a": 1})], ""),
        ("hermes", '```json{"name": "f", "arguments": {}}\n{"name": "g", "arguments": {}}', [("f", {}), ("g", {})], ""),
        ("hermes", '```json\n{"name": "f", "arguments": {}}\n```\nDone.', [("f", {})], "Done."),
        ("hermes", '```json\n{"name": "z", "arguments": {}}\n```', [], '```json\n{"name": "z", "arguments": {}}\n```'),
        ("hermes", '```json\n{"name": "f"}\n```', [], '```json\n{"name": "f"}\n```'),
        ("hermes", '```json\n{"name": "f", "argu', [], '```json\n{"name": "f", "argu'),
        ("hermes", '```json\n[]\n```<tool_call>{"name": "f", "arguments": {}}', [("f", {})], "```json\n[]\n```"),
        ("hermes", '{"name": "f", "arguments": {}}\n{"name": "g", "arguments": {}}', [("f", {}), ("g", {})], ""),
        ("hermes", '{"name": "f", "arguments": {}} I wait.', [("f", {})], "I wait."),
        ("hermes", '{"name": "z", "arguments": {}}', [], '{"name": "z", "arguments": {}}'),
        ("hermes", '{"a": 1}', [], '{"a": 1}'),
        ("hermes", "```python\nx = 1\n```", [], "```python\nx = 1\n```"),
        (
            "hermes",
            'So:\n```json\n{"name": "f", "arguments": {}}\n```',
            [],
            'So:\n```json\n{"name": "f", "arguments": {}}\n```',
        ),
        ("qwen_xml", "<function=g>\n</function>", [("g", {})], ""),
        ("qwen_xml", "<function=g></function></tool_call> so", [("g", {})], "so"),
        ("qwen_xml", "<tool_call><function=f><parameter=count>x1</parameter></function>", [("f", {"count": "x1"})], ""),
        (
            "qwen_xml",
            "<function=f><parameter=text>\n\n a\n\n</parameter></function>",
            [("f", {"text": "\n a\n"})],
            "",
        ),
        ("qwen_xml", "a <function= b", [], "a <function= b"),
        ("llama_json", '{"name": "z", "parameters": {}}', [], '{"name": "z", "parameters": {}}'),
        ("llama_json", '<|python_tag|>{"name": "z", "parameters": {}}', [("z", {})], ""),
        ("llama_json", '\n{"name": "f", "parameters": {}} ', [("f", {})], ""),
        ("llama_json", '{"name": "f", "parameters": {}} see', [], '{"name": "f", "parameters": {}} see'),
        ("llama_json", 'x {"name": "f", "parameters": {}}', [], 'x {"name": "f", "parameters": {}}'),
        ("llama_json", '{"name": "f", "parameters": {}}\n{"name": "g", "parameters": {}};', [("f", {}), ("g", {})], ""),
        ("llama_json", "<|python_tag|>print(1)", [], "<|python_tag|>print(1)"),
        ("mistral", "[TOOL_CALLS]f[CALL_ID]abc123[ARGS]{}", [("f", {})], ""),
        ("mistral", '[TOOL_CALLS]f{"a": 1}', [("f", {"a": 1})], ""),
        ("mistral", '[TOOL_CALLS] [{"name": "f", "arguments": {}}]', [("f", {})], ""),
        ("mistral", "[TOOL_CALLS] []", [], "[TOOL_CALLS] []"),
        ("mistral", '[TOOL_CALLS]{"name": "f", "arguments": {}}', [("f", {})], ""),
        ("mistral", "[TOOL_CALLS]{}", [], "[TOOL_CALLS]{}"),
        ("mistral", "[TOOL_CALLS][ARGS]{}", [], "[TOOL_CALLS][ARGS]{}"),
        ("pythonic", "[f(a='x', b=[1, None, {'k': -1.5}])]", [("f", {"a": "x", "b": [1, None, {"k": -1.5}]})], ""),
        ("pythonic", "<|python_start|>[a.b()]<|python_end|>", [("a.b", {})], ""),
        ("pythonic", "[z()]", [], "[z()]"),
        ("pythonic", "[f(1)]", [], "[f(1)]"),
        ("pythonic", "[f(**{'a': 1})]", [], "[f(**{'a': 1})]"),
        ("pythonic", "[f(a={1, 2})]", [], "[f(a={1, 2})]"),
        ("pythonic", "[f(a=b'x')]", [], "[f(a=b'x')]"),
        ("pythonic", "[f(a=1e999)]", [], "[f(a=1e999)]"),
        ("pythonic", "[f(a='\\ud800')]", [], "[f(a='\\ud800')]"),
        ("pythonic", "[f(a=g())]", [], "[f(a=g())]"),
        ("pythonic", "[1, 2]", [], "[1, 2]"),
        ("pythonic", "[f(a=" + "[" * 3000 + "]" * 3000 + ")]", [], "[f(a=" + "[" * 3000 + "]" * 3000 + ")]"),
    ],
)  # fmt: skip
def test_particulars(family: str, text: str, calls: list[object], content: str) -> None:
    assert found(family, text) == (calls, content)


@pytest.mark.parametrize("family", ["hermes", "mistral", "llama_json"])
@pytest.mark.parametrize("arguments", ["1", "null", "[]", '"x"', '{"a": NaN}', '{"a": "\\ud800"}'])
def test_arguments_that_are_no_object_of_valid_json_make_no_call(family: str, arguments: str) -> None:
    texts = {
        "hermes": f'<tool_call>{{"name": "f", "arguments": {arguments}}}</tool_call>',
        "mistral": f"[TOOL_CALLS]f[ARGS]{arguments}",
        "llama_json": f'<|python_tag|>{{"name": "f", "parameters": {arguments}}}',
    }
    assert found(family, texts[family]) == ([], texts[family])


def test_nesting_that_is_too_deep_is_no_call() -> None:
    text = "[TOOL_CALLS]f[ARGS]" + '{"a":' * 100_000 + "1" + "}" * 100_000
    assert found("mistral", text) == ([], text)


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("5", {"type": "integer"}, 5),
        ("5.5", {"type": "number"}, 5.5),
        ("5", {"type": "string"}, "5"),
        ("5", {}, "5"),
        ("5", None, "5"),
        ("5", True, "5"),
        ("true", {"type": "boolean"}, True),
        ("False", {"type": "boolean"}, False),
        ("None", {"type": ["integer", "null"]}, None),
        ("null", {"type": ["string", "null"]}, None),
        ("null", {"type": "string"}, "null"),
        ("[1, 2]", {"type": "array"}, [1, 2]),
        ('{"a": 1}', {"type": "object"}, {"a": 1}),
        ("7", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, 7),
        ("7", {"oneOf": [{"type": "integer"}, {"type": "string"}]}, "7"),
        ("7", {"anyOf": [{"type": "integer"}, {"$ref": "#/x"}]}, "7"),
        ("seven", {"type": "integer"}, "seven"),
        ("[" * 100_000, {"type": "array"}, "[" * 100_000),
    ],
)
def test_bare_texts_get_the_type_of_the_schema(text: str, schema: object, value: object) -> None:
    assert typed_value(text, schema) == value


def test_a_long_call_takes_time_in_proportion() -> None:
    parser = ReplyFormat(FAMILIES["hermes"].grammar).parser()
    pieces = ['<tool_call>{"name": "f", "arguments": {"a": "', *["x = {'a'}; "] * 20_000, '"}}</tool_call>']
    assert sum(len(parser.push(piece)) for piece in pieces) == 1


def test_every_format_that_can_be_read_has_a_grammar() -> None:
    unread = {ToolFormat.NONE, ToolFormat.UNKNOWN, ToolFormat.DEEPSEEK, ToolFormat.GRANITE}
    assert set(GRAMMARS) == set(ToolFormat) - unread
    for make in GRAMMARS.values():
        grammar = make({"f": {}})
        assert grammar.marks or grammar.first_chars


def test_think_marks_are_in_the_vocabulary_or_in_the_template() -> None:
    assert think_marks_of("", {"</think>"}) == think_marks_of("{{ '</think>' }}", ())
    assert (think_marks_of("", {"[/THINK]"}) or pytest.fail()).opening == "[THINK]"
    assert think_marks_of("{{ '<think>' }}", ()) == think_marks_of("", {"</think>"})
    assert think_marks_of("<think", {"x"}) is None


def test_a_grammar_serves_many_replies_at_a_time() -> None:
    reply_format = ReplyFormat(LlamaJsonGrammar(NAMES))
    first, second = reply_format.parser(), reply_format.parser()
    assert first.push('{"name": "f", ') == []
    assert second.push("Hello") == [Content("Hello")]
    assert calls_of(first.push('"parameters": {}}') + first.finish()) == [("f", {})]
    assert second.push(" you") == [Content(" you")]
