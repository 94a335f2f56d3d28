"""Turns of Ollama's dialect as chat templates know them."""

from collections.abc import Sequence

from llama4coder.server.ollama.schemas import ChatMessage
from llama4coder.server.ollama.tool_fields import ToolCallField
from llama4coder.server.tools import Message, template_call


def template_messages(turns: Sequence[ChatMessage]) -> list[Message]:
    """The turns in order; calls and results have ids, which many of Ollama's clients do not send."""
    ids = _CallIds()
    return [_message(turn, ids) for turn in turns]


def _message(turn: ChatMessage, ids: "_CallIds") -> Message:
    extras: dict[str, object] = {}
    if turn.role == "assistant":
        calls = [
            template_call(ids.begin(call), call.function.name, call.function.arguments or {})
            for call in turn.tool_calls or ()
        ]
        extras = {"reasoning_content": turn.thinking, "tool_calls": calls}
    elif turn.role == "tool":
        extras = {"name": turn.tool_name, "tool_call_id": ids.end(turn)}
    return {"role": turn.role, "content": turn.content or ""} | {key: value for key, value in extras.items() if value}


class _CallIds:
    """Gives ids to calls that have none, and to results the id of the first such call that they may belong to."""

    def __init__(self) -> None:
        self._num_calls = 0
        self._waiting: dict[str, str] = {}  # id of a call without a result -> name of its tool

    def begin(self, call: ToolCallField) -> str:
        self._num_calls += 1
        call_id = call.id or f"call_{self._num_calls}"
        self._waiting[call_id] = call.function.name
        return call_id

    def end(self, result: ChatMessage) -> str | None:
        fitting = (call_id for call_id, name in self._waiting.items() if result.tool_name in (None, name))
        call_id = result.tool_call_id or next(fitting, None)
        if call_id is not None:
            self._waiting.pop(call_id, None)
        return call_id
