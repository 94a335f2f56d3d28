"""Tools as a request offers them, whatever its dialect."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_NINE_CHARACTERS = re.compile(r"[A-Za-z0-9]{9}")
Message = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; `parameters` is the JSON schema of an object."""

    name: str
    description: str | None
    parameters: Mapping[str, object]
    strict: bool = False  # arguments have to match the parameters, always

    def as_json(self) -> dict[str, object]:
        """As chat templates expect it, which is OpenAI's way."""
        described = {} if self.description is None else {"description": self.description}
        return {"type": "function", "function": {"name": self.name, **described, "parameters": dict(self.parameters)}}


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether tools must be called; not to offer any is how none are."""

    is_required: bool = False
    name: str | None = None  # of the one that must be
    allowed: tuple[str, ...] | None = None  # of the offered ones only these may be; None: all

    def of(self, tools: Sequence[Tool]) -> tuple[Tool, ...]:
        """Those of the tools that may be called."""
        names = self.allowed if self.name is None else (self.name,)
        return tuple(tool for tool in tools if names is None or tool.name in names)


FREE_CHOICE = ToolChoice()


def with_short_ids(message: Message) -> Message:
    """The same message with ids of calls as Mistral's templates demand them; equal ids stay equal."""
    calls, call_id = message.get("tool_calls"), message.get("tool_call_id")
    if isinstance(calls, list):
        message = {**message, "tool_calls": [{**call, "id": _short_id(str(call["id"]))} for call in calls]}
    if isinstance(call_id, str):
        message = {**message, "tool_call_id": _short_id(call_id)}
    return message


def _short_id(call_id: str) -> str:
    if _NINE_CHARACTERS.fullmatch(call_id):
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:9]
