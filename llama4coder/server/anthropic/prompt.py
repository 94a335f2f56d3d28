"""A conversation as the prompt that the model's own template makes of it."""

from collections.abc import Iterator
from itertools import groupby, takewhile

from llama4coder.server.anthropic.schemas import CountRequest, InputMessage
from llama4coder.server.chat import ChatExtras
from llama4coder.server.generation import Prompt
from llama4coder.server.preprocess import Preprocessor
from llama4coder.server.tools import Message

_BETWEEN_TURNS = "\n\n"


async def to_prompt(preprocessor: Preprocessor, body: CountRequest) -> Prompt:
    """The prompt; an assistant's turn at the end is the beginning of the answer. Raises what `chat_prompt` raises."""
    messages = list(template_messages(body))
    preprocessor.check_size(sum(len(str(message["content"])) for message in messages), "messages")
    return await preprocessor.chat_prompt(messages, ChatExtras(continues_last=True))


def template_messages(body: CountRequest) -> Iterator[Message]:
    """What the system says first, then turn by turn.

    Neighbours of one role are one turn, as they are at Anthropic: many templates want roles to alternate. They allow no
    system between turns either; what it says there stands in the user's turn, so that all before is still found cached.
    """
    first = list(takewhile(lambda message: message.role == "system", body.messages))
    system = [text for text in (body.system, *(message.content for message in first)) if text]
    if system:
        yield {"role": "system", "content": _BETWEEN_TURNS.join(system)}
    for role, neighbours in groupby(body.messages[len(first) :], _turn_role):
        yield {"role": role, "content": _BETWEEN_TURNS.join(message.content for message in neighbours)}


def _turn_role(message: InputMessage) -> str:
    return "user" if message.role == "system" else message.role
