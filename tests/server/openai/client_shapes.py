"""Second turns of an agent as clients send them: the shapes of their requests, with texts of ours.

Sources: `extensions/copilot` of microsoft/vscode, `src/core/api/providers/openai.ts` of cline/cline,
`crates/open_ai` of zed-industries/zed, `aider/models.py` of Aider-AI/aider.
"""

from collections.abc import Mapping

_SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"path": {"type": "string", "description": "Where it is."}, "limit": {"type": ["integer", "null"]}},
    "required": ["path"],
    "additionalProperties": False,
}
_ARGUMENTS = '{"path":"a.py"}'
_CALL = {"id": "call_0a1b", "type": "function", "function": {"name": "read_file", "arguments": _ARGUMENTS}}

COPILOT: Mapping[str, object] = {
    "messages": [
        {"role": "system", "content": "You edit code."},
        {"role": "user", "content": [{"type": "text", "text": "Fix a.py"}]},
        {"role": "assistant", "content": "", "tool_calls": [_CALL]},
        {"role": "tool", "tool_call_id": "call_0a1b", "content": "def add(a, b): return a - b"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "read_file", "description": "Read a file.", "parameters": _SCHEMA}},
        {
            "type": "function",
            "function": {
                "name": "terminal_last_command",
                "description": "The last command.",
                "parameters": {"type": "object", "properties": {}},
            },
        },
    ],
    "temperature": 0,
    "top_p": 1,
    "n": 1,
    "stream": True,
    "stream_options": {"include_usage": True},
}
CLINE: Mapping[str, object] = {
    "messages": [
        {"role": "system", "content": "You are an agent."},
        {"role": "user", "content": [{"type": "text", "text": "Fix"}, {"type": "text", "text": "a.py"}]},
        {"role": "assistant", "content": None, "tool_calls": [_CALL]},
        {"role": "tool", "tool_call_id": "call_0a1b", "content": "def add(a, b): return a - b"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {"name": "read_file", "strict": False, "description": "Read.", "parameters": _SCHEMA},
        }
    ],
    "temperature": 0,
    "stream": True,
    "stream_options": {"include_usage": True},
}
ZED: Mapping[str, object] = {
    "messages": [
        {"role": "system", "content": "You are an agent."},
        {"role": "user", "content": "Fix a.py"},
        {"role": "assistant", "content": [], "tool_calls": [_CALL], "reasoning_content": "I read it first."},
        {"role": "tool", "content": [{"type": "text", "text": "def add()"}], "tool_call_id": "call_0a1b"},
    ],
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_completion_tokens": 4096,
    "temperature": 1.0,
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "tools": [
        {"type": "function", "function": {"name": "read_file", "description": None, "parameters": _SCHEMA}},
        {"type": "function", "function": {"name": "now", "description": "The time.", "parameters": None}},
    ],
    "prompt_cache_key": "thread-1",
}
# Its usual edit formats are plain text; only an old one forces a function.
AIDER: Mapping[str, object] = {
    "messages": [
        {"role": "system", "content": "Answer with SEARCH/REPLACE blocks."},
        {"role": "user", "content": "Fix a.py"},
        {"role": "assistant", "content": "Ok."},
        {"role": "user", "content": "Go on"},
    ],
    "temperature": 0,
    "stream": True,
}
AIDER_FUNCTIONS: Mapping[str, object] = {
    **AIDER,
    "tools": [{"type": "function", "function": {"name": "read_file", "parameters": _SCHEMA}}],
    "tool_choice": {"type": "function", "function": {"name": "read_file"}},
}
