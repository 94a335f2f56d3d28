"""The served model in Ollama's words."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from llama4coder.server.ollama.replies import Details, ModelEntry, ShowReply
from llama4coder.server.preprocess import Preprocessor
from llama4coder.types import ServedModel

_NEVER = datetime(9999, 12, 31, tzinfo=UTC)
_CHAT_TEMPLATE = "{{ range .Messages }}{{ .Role }}: {{ .Content }}{{ end }}"
# Continue takes the server's own way of writing a hole where the template names this variable.
_FIM_TEMPLATE = "{{ if .Suffix }}{{ .Prompt }}{{ .Suffix }}{{ else }}" + _CHAT_TEMPLATE + "{{ end }}"
_INSERT = "insert"
_CHAT_CAPABILITIES: Mapping[str, str] = {"tools": "tools", "reasoning": "thinking"}  # in our words, and in Ollama's
_LEVELS: Mapping[str, str] = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


def capabilities_of(preprocessor: Preprocessor) -> tuple[str, ...]:
    """What the model can do; none of ours sees."""
    insert = (_INSERT,) * preprocessor.fills_holes
    return ("completion", *insert, *(_CHAT_CAPABILITIES[name] for name in preprocessor.chat_capabilities))


def model_entry(model: ServedModel, name: str, capabilities: Sequence[str]) -> ModelEntry:
    """One name in the list of models."""
    return ModelEntry(
        name=name,
        model=name,
        modified_at=_modified_at(model),
        size=model.details.num_file_bytes,
        digest=_digest(model),
        details=_details(model),
        capabilities=list(capabilities),
        context_length=model.context_length,
    )


def loaded_entry(model: ServedModel, name: str, capabilities: Sequence[str]) -> ModelEntry:
    """The same in the list of loaded models."""
    entry = model_entry(model, name, capabilities)
    return msgspec.structs.replace(entry, expires_at=_NEVER, size_vram=model.details.num_file_bytes)


def show_reply(model: ServedModel, capabilities: Sequence[str]) -> ShowReply:
    """All of it; the context is the served one, whatever the model could do. Templates are sketches for clients."""
    architecture = model.details.architecture
    return ShowReply(
        modelfile=f"FROM {model.name}",
        parameters=f"num_ctx {model.context_length}",
        template=_FIM_TEMPLATE if _INSERT in capabilities else _CHAT_TEMPLATE,
        details=_details(model),
        model_info={
            "general.architecture": architecture,
            "general.basename": model.name,
            "general.parameter_count": model.details.num_parameters,
            f"{architecture}.context_length": model.context_length,
        },
        capabilities=list(capabilities),
        modified_at=_modified_at(model),
    )


def _details(model: ServedModel) -> Details:
    facts = model.details
    return Details(
        format="safetensors",
        family=facts.architecture,
        families=[facts.architecture],
        parameter_size=_short(facts.num_parameters),
        quantization_level=_LEVELS.get(facts.weight_format, facts.weight_format.upper()),
    )


def _short(number: int) -> str:
    """As `7.6B`."""
    for size, unit in ((10**9, "B"), (10**6, "M")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number / 1000:.1f}K"


def _modified_at(model: ServedModel) -> datetime:
    return datetime.fromtimestamp(model.created_unix_s, UTC)


def _digest(model: ServedModel) -> str:
    """Of the name and its time: clients want one to tell models apart, and weights are too large to be read for it."""
    return hashlib.sha256(f"{model.name} {model.created_unix_s}".encode()).hexdigest()
