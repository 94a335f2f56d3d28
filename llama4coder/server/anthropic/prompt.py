"""A conversation as the prompt that the model's own template makes of it."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from llama4coder.server.anthropic.schemas import CountRequest, InputMessage
from llama4coder.server.generation import Prompt
from llama4coder.server.preprocess import Message, Preprocessor

_BETWEEN_TURNS = "\n\n"


async def to_prompt(preprocessor: Preprocessor, body: CountRequest) -> Prompt:
    """The prompt; an assistant's turn at the end is the beginning of the answer. Raises what `chat_prompt` raises."""
    messages = list(template_messages(body))
    preprocessor.check_size(sum(len(str(message["content"])) for message in messages), "messages")
    return await preprocessor.chat_prompt(messages, continues_last=True)


def template_messages(body: CountRequest) -> Iterator[Message]:
    """Whatever the system says at the beginning, since templates allow it nowhere else; then turn by turn.

    Neighbours of one role are one turn, as they are at Anthropic: many templates want roles to alternate.
    """
    system = [body.system] if body.system else []
    system += [message.content for message in body.messages if message.role == "system"]
    if system:
        yield {"role": "system", "content": _BETWEEN_TURNS.join(system)}
    turns = (message for message in body.messages if message.role != "system")
    for role, neighbours in groupby(turns, lambda message: message.role):
        yield {"role": role, "content": _joined(list(neighbours))}


def _joined(messages: Sequence[InputMessage]) -> str:
    return _BETWEEN_TURNS.join(message.content for message in messages)
