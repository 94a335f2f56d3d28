"""Messages in any order as the turns that chat templates allow."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, takewhile

from llama4coder.server.tools import Message

_BETWEEN_TURNS = "\n\n"
_TEXTS = ("content", "reasoning_content")


def template_turns(messages: Sequence[Message]) -> Iterator[Message]:
    """What the system says first, then turn by turn.

    Neighbours of one role are one turn, calls and reasoning included, since many templates want roles to alternate;
    results of tools stay apart. Templates allow no system between turns either; what it says there stands in the
    user's turn, so that all before is still found cached.
    """
    first = list(takewhile(lambda message: message["role"] == "system", messages))
    if any(message["content"] for message in first):
        yield _joined("system", first)
    for role, neighbours in groupby(messages[len(first) :], _turn_role):
        if role == "tool":
            yield from neighbours
        else:
            yield _joined(role, list(neighbours))


def _turn_role(message: Message) -> str:
    return "user" if message["role"] == "system" else str(message["role"])


def _joined(role: str, messages: Sequence[Message]) -> Message:
    turn: dict[str, object] = {"role": role}
    for part in _TEXTS:
        texts = [str(message[part]) for message in messages if message.get(part)]
        if texts or part == "content":
            turn[part] = _BETWEEN_TURNS.join(texts)
    if calls := list(_calls(messages)):
        turn["tool_calls"] = calls
    return turn


def _calls(messages: Iterable[Message]) -> Iterator[object]:
    for message in messages:
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            yield from calls
