"""Tools as a request offers them, whatever its dialect."""

import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llama4coder.errors import InvalidRequest

_NINE_CHARACTERS = re.compile(r"[A-Za-z0-9]{9}")
Message = Mapping[str, object]
NO_PARAMETERS: Mapping[str, object] = {"type": "object", "properties": {}}
"""Of a function that takes none."""


@dataclass(frozen=True, slots=True, repr=False)
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


@dataclass(frozen=True, slots=True, repr=False)
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


def num_chars_of(message: Message) -> int:
    """About how long a message is, before it is rendered."""
    return sum(len(str(message.get(part) or "")) for part in ("content", "reasoning_content", "tool_calls"))


def new_call_id() -> str:
    """An id for a call, in the form that OpenAI's have."""
    return f"call_{uuid.uuid4().hex[:24]}"


def template_call(call_id: str, name: str, arguments: Mapping[str, object]) -> dict[str, object]:
    """A call of an earlier turn as templates know it."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def check_tools(tools: Sequence[Tool], choice: ToolChoice = FREE_CHOICE) -> None:
    """Raise `InvalidRequest` where two tools have one name, or a choice asks for, or allows, one that is not there."""
    names = {tool.name for tool in tools}
    if len(names) < len(tools):
        raise InvalidRequest("every tool must have a name of its own", "tools")
    if not names.issuperset(choice.allowed or ()):
        raise InvalidRequest("'tool_choice' allows a tool that is not among 'tools'", "tool_choice")
    if choice.is_required and (not tools or choice.name not in (None, *names)):
        raise InvalidRequest("'tool_choice' asks for a call, and there is no such tool among 'tools'", "tool_choice")


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
