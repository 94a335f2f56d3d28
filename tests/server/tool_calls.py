"""Calls as models write them, and as replies give them back."""

import json
from collections.abc import Mapping
from typing import Any

from tests.server.serving import Site

HERMES = '<tool_call>\n{"name": "read_file", "arguments": {"path": "a.py"}}\n</tool_call>'
# What a model of each family writes to call read_file with the path a.py, and then g.
WRITTEN: Mapping[str, str] = {
    "hermes": f'I look.\n{HERMES}\n<tool_call>\n{{"name": "g", "arguments": {{}}}}\n</tool_call>',
    "qwen_xml": "I look.\n<tool_call>\n<function=read_file>\n<parameter=path>\na.py\n</parameter>\n</function>\n"
    "</tool_call>\n<tool_call>\n<function=g>\n</function>\n</tool_call>",
    "llama_json": 'I look.<|python_tag|>{"name": "read_file", "parameters": {"path": "a.py"}}; '
    '{"name": "g", "parameters": {}}',
    "mistral": 'I look.[TOOL_CALLS]read_file[ARGS]{"path": "a.py"}[TOOL_CALLS]g[ARGS]{}',
    "pythonic": "I look.<|python_start|>[read_file(path='a.py'), g()]<|python_end|>",
}


def prompt_of(site: Site) -> str:
    """The prompt that the backend got last, control tokens shown."""
    return site.tokenizer.decode(site.backend.requests[-1].prompt_token_ids, skip_special=False)


def calls_in(message: Mapping[str, Any]) -> list[tuple[str, dict[str, object]]]:
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in message["tool_calls"]]
