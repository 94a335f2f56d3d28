"""Reply bodies of Ollama's dialect; fields that are `UNSET` are left out. Durations are in nanoseconds."""

from datetime import datetime
from typing import Literal

from msgspec import UNSET, Raw, Struct, UnsetType

DoneReason = Literal["stop", "length", "load"]


class FunctionReply(Struct):
    """`index` counts the calls of one reply; `arguments` is the JSON text of an object."""

    index: int
    name: str
    arguments: Raw


class ToolCallReply(Struct):
    id: str
    function: FunctionReply


class ReplyMessage(Struct):
    content: str
    role: Literal["assistant"] = "assistant"
    thinking: str | UnsetType = UNSET
    tool_calls: list[ToolCallReply] | UnsetType = UNSET


class Reply(Struct, kw_only=True):
    """An answer or a part of it: of a chat with `message`, of a completion with `response` and `thinking`."""

    model: str
    created_at: datetime
    message: ReplyMessage | UnsetType = UNSET
    response: str | UnsetType = UNSET
    thinking: str | UnsetType = UNSET
    done: bool = False
    done_reason: DoneReason | UnsetType = UNSET
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_duration: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET


class Details(Struct):
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str
    parent_model: str = ""


class ModelEntry(Struct, kw_only=True):
    """A model in a list; one that is loaded tells the last two as well."""

    name: str
    model: str
    modified_at: datetime
    size: int
    digest: str
    details: Details
    capabilities: list[str]
    context_length: int
    expires_at: datetime | UnsetType = UNSET
    size_vram: int | UnsetType = UNSET


class ModelEntries(Struct):
    models: list[ModelEntry]


class ShowReply(Struct):
    modelfile: str
    parameters: str
    template: str
    details: Details
    model_info: dict[str, str | int]
    capabilities: list[str]
    modified_at: datetime


class VersionReply(Struct):
    version: str
