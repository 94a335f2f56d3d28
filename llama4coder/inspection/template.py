"""Which kind of chat a model was trained on, by the markers that its template writes.

Sources: the templates and model cards of the families named here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class ChatKind(StrEnum):
    """How turns are told apart."""

    CHATML = "ChatML"
    LLAMA_4 = "Llama 4"
    LLAMA_3 = "Llama 3"
    LLAMA_2 = "Llama 2"
    MISTRAL = "Mistral"
    DEEPSEEK = "DeepSeek"
    GEMMA = "Gemma"
    GRANITE = "Granite"
    HARMONY = "Harmony"
    PHI = "Phi or Zephyr"
    INSTRUCTION = "### Instruction"
    UNKNOWN = "unknown"


class ToolFormat(StrEnum):
    """How a model writes the call of a tool."""

    DEEPSEEK = "DeepSeek"
    MISTRAL = "Mistral"
    QWEN_XML = "Qwen3-Coder XML"
    HERMES = "Hermes"
    GRANITE = "Granite"
    LLAMA_JSON = "Llama 3 JSON"
    PYTHONIC = "Pythonic"
    UNKNOWN = "unknown"  # the template takes tools, and shows none of the formats above
    NONE = "none"


# The first marker that a template holds decides: later ones are parts of what others write, too.
_KINDS: Mapping[str, ChatKind] = {
    "<|im_start|>": ChatKind.CHATML,
    "<|header_start|>": ChatKind.LLAMA_4,
    "<|start_header_id|>": ChatKind.LLAMA_3,
    "<start_of_turn>": ChatKind.GEMMA,
    "<|start_of_role|>": ChatKind.GRANITE,
    "<|channel|>": ChatKind.HARMONY,
    "<\uff5cUser\uff5c>": ChatKind.DEEPSEEK,
    "<<SYS>>": ChatKind.LLAMA_2,
    "[INST]": ChatKind.MISTRAL,
    "### Instruction": ChatKind.INSTRUCTION,  # DeepSeek-Coder, StarCoder2-Instruct, Magicoder
    "<|user|>": ChatKind.PHI,
}
_CALLS: Mapping[str, ToolFormat] = {
    "<\uff5ctool\u2581call\u2581begin\uff5c>": ToolFormat.DEEPSEEK,
    "[TOOL_CALLS]": ToolFormat.MISTRAL,
    "<function=": ToolFormat.QWEN_XML,
    "<|tool_call|>": ToolFormat.GRANITE,
    "<tool_call>": ToolFormat.HERMES,
    "<|python_start|>": ToolFormat.PYTHONIC,
    "[func_name1(": ToolFormat.PYTHONIC,
    "<|python_tag|>": ToolFormat.LLAMA_JSON,
}
_LLAMA_ARGUMENTS = '"parameters"'  # what Llama 3 calls the arguments of a call, also where it has no tag for one


@dataclass(frozen=True, slots=True)
class TemplateFacts:
    """What a template's text tells; it is not rendered."""

    kind: ChatKind
    tools: ToolFormat


def read_template(source: str) -> TemplateFacts:
    """By markers only, so that a template of no known kind is named `unknown` rather than guessed."""
    kind = next((kind for marker, kind in _KINDS.items() if marker in source), ChatKind.UNKNOWN)
    return TemplateFacts(kind, _tools(source, kind))


def _tools(source: str, kind: ChatKind) -> ToolFormat:
    found = next((tools for marker, tools in _CALLS.items() if marker in source), None)
    if found is not None:
        return found
    if kind is ChatKind.LLAMA_3 and _LLAMA_ARGUMENTS in source:
        return ToolFormat.LLAMA_JSON
    return ToolFormat.UNKNOWN if "tools" in source else ToolFormat.NONE
