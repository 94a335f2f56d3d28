"""Endpoints over models that call tools, one per family: small templates of ours with the families' own markers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from prometheus_client import CollectorRegistry

from llama4coder.config import ServerConfig
from llama4coder.obs.metrics import Metrics
from llama4coder.server.app import create_app
from llama4coder.tokenizer.chat_template import ChatTemplate
from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.server.serving import MODEL, Site
from tests.support.fake_backend import FakeBackend
from tests.support.tiny import write_tiny_tokenizer

_TOOLS = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
)
_TURN = "<|im_start|>{{ message.role }}\n{{ message.content }}"
_RESULT = "{% if message.tool_call_id %}<result id={{ message.tool_call_id }}>{% endif %}"
_PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


def _template(call: str, prompt: str = _PROMPT, turn: str = _TURN) -> str:
    calls = f"{{% for call in message.tool_calls or [] %}}{call}{{% endfor %}}"
    return f"{_TOOLS}{{% for message in messages %}}{turn}{_RESULT}{calls}<|im_end|>\n{{% endfor %}}{prompt}"


_NAMED = '{"name": "{{ call.function.name }}", "%s": {{ call.function.arguments | tojson }}}'
HERMES_CALL = f"<tool_call>\n{_NAMED % 'arguments'}\n</tool_call>"
TEMPLATES: Mapping[str, str] = {
    "hermes": _template(HERMES_CALL),
    "qwen_xml": _template(
        "<tool_call>\n<function={{ call.function.name }}>\n{% for key, value in call.function.arguments | items %}"
        "<parameter={{ key }}>\n{{ value }}\n</parameter>\n{% endfor %}</function>\n</tool_call>"
    ),
    "llama_json": _template(f"<|python_tag|>{_NAMED % 'parameters'}"),
    "mistral": _template("[TOOL_CALLS]{{ call.function.name }}[ARGS]{{ call.function.arguments | tojson }}"),
    "pythonic": _template("<|python_start|>[{{ call.function.name }}()]<|python_end|>"),
    "unknown": _template("call {{ call.function.name }}"),
    "thinking": _template(
        HERMES_CALL,
        _PROMPT + "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}",
        _TURN + "{% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}",
    ),
    "always_thinking": _template(
        HERMES_CALL, "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    ),
    "effort": _template(HERMES_CALL, "effort={{ reasoning_effort }}" + _PROMPT),
}
MARKERS = (
    *("<tool_call>", "</tool_call>", "<think>", "</think>", "<|python_tag|>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"),
    *("<|python_start|>", "<|python_end|>"),
)
PLAIN_MARKERS = tuple(marker for marker in MARKERS if "think" not in marker)


@dataclass(frozen=True)
class Vocabulary:
    """Which markers are tokens, and whether they are declared special."""

    markers: tuple[str, ...] = PLAIN_MARKERS
    declared: bool = True


SPECIAL = Vocabulary()


def make_tool_site(folder: Path, family: str, vocabulary: Vocabulary = SPECIAL, **config: object) -> Site:
    """An endpoint whose model has this family's template."""
    write_tiny_tokenizer(folder, vocabulary.markers, declared=vocabulary.declared)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = TEMPLATES[family]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer, template = Tokenizer.from_folder(folder), ChatTemplate.from_folder(folder)
    model = replace(MODEL, context_length=8192, vocab_size=tokenizer.vocab_size)
    backend, registry = FakeBackend(), CollectorRegistry()
    app = create_app(backend, model, tokenizer, template, ServerConfig.model_validate(config), Metrics(registry))
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    return Site(app, backend, tokenizer, registry, httpx.AsyncClient(transport=transport, base_url="http://test"))


def tool(name: str, **properties: object) -> dict[str, object]:
    """A tool in OpenAI's dialect."""
    parameters = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    return {"type": "function", "function": {"name": name, "description": f"{name} it", "parameters": parameters}}


TOOLS = [tool("read_file", path="string", limit="integer"), tool("f", a="string"), tool("g")]
