"""Kinds of chat templates, by what they write."""

import pytest

from llama4coder.inspection.template import ChatKind, TemplateFacts, ToolFormat, read_template


@pytest.mark.parametrize(
    ("source", "kind", "tools"),
    [
        ("{{ '<|im_start|>' }}{% if tools %}<tool_call>{% endif %}", ChatKind.CHATML, ToolFormat.HERMES),
        ("{{ '<|im_start|>' }}", ChatKind.CHATML, ToolFormat.NONE),
        ("<|im_start|>{% if tools %}<tool_call>\n<function=name>", ChatKind.CHATML, ToolFormat.QWEN_XML),
        ("<|start_header_id|>{{ tools }}<|python_tag|>", ChatKind.LLAMA_3, ToolFormat.LLAMA_JSON),
        ('<|start_header_id|>{{ tools }}{"name": x, "parameters": y}', ChatKind.LLAMA_3, ToolFormat.LLAMA_JSON),
        ("<|start_header_id|>", ChatKind.LLAMA_3, ToolFormat.NONE),
        ("<|header_start|>{{ tools }}<|python_tag|>", ChatKind.LLAMA_4, ToolFormat.LLAMA_JSON),
        ("<|header_start|>{{ tools }}<|python_start|><|python_end|>", ChatKind.LLAMA_4, ToolFormat.PYTHONIC),
        ("<|start_header_id|>{{ tools }}[func_name1(a=b)]", ChatKind.LLAMA_3, ToolFormat.PYTHONIC),
        ("[INST] <<SYS>>", ChatKind.LLAMA_2, ToolFormat.NONE),
        ("[AVAILABLE_TOOLS]{{ tools }}[INST][TOOL_CALLS]", ChatKind.MISTRAL, ToolFormat.MISTRAL),
        (
            "<\uff5cUser\uff5c><\uff5ctool\u2581calls\u2581begin\uff5c><\uff5ctool\u2581call\u2581begin\uff5c>",
            ChatKind.DEEPSEEK,
            ToolFormat.DEEPSEEK,
        ),
        ("<start_of_turn>user", ChatKind.GEMMA, ToolFormat.NONE),
        ("<|start_of_role|>{{ tools }}<|tool_call|>", ChatKind.GRANITE, ToolFormat.GRANITE),
        ("<|channel|>{{ tools }}", ChatKind.HARMONY, ToolFormat.UNKNOWN),
        ("<|user|>", ChatKind.PHI, ToolFormat.NONE),
        ("### Instruction:", ChatKind.INSTRUCTION, ToolFormat.NONE),
        ("{{ messages }}", ChatKind.UNKNOWN, ToolFormat.NONE),
    ],
)
def test_template(source: str, kind: ChatKind, tools: ToolFormat) -> None:
    assert read_template(source) == TemplateFacts(kind, tools)
