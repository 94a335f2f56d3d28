"""A conversation as the prompt that the model's own template makes of it."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, takewhile

from llama4coder.server.anthropic.blocks import (
    BETWEEN_TEXTS,
    Block,
    DocumentBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from llama4coder.server.anthropic.schemas import CountRequest, InputMessage
from llama4coder.server.chat import ChatExtras
from llama4coder.server.generation import Prompt
from llama4coder.server.preprocess import Preprocessor
from llama4coder.server.tools import Message, call_entry

_FAILED = "Error: "  # templates know no other way to say so


async def to_prompt(preprocessor: Preprocessor, body: CountRequest, extras: ChatExtras) -> Prompt:
    """The prompt; an assistant's turn at the end is the beginning of the answer. Raises what `chat_prompt` raises."""
    messages = list(template_messages(body))
    preprocessor.check_chat_size(messages, extras)
    return await preprocessor.chat_prompt(messages, extras)


def template_messages(body: CountRequest) -> Iterator[Message]:
    """What the system says first, then turn by turn.

    Neighbours of one role are one turn, as they are at Anthropic: many templates want roles to alternate. They allow no
    system between turns either; what it says there stands in the user's turn, so that all before is still found cached.
    """
    first = list(takewhile(lambda message: message.role == "system", body.messages))
    if system := _text([*body.system, *_blocks(first)]):
        yield {"role": "system", "content": system}
    names: dict[str, str] = {}  # of the tools that were called, by the call's id
    for is_assistant, neighbours in groupby(body.messages[len(first) :], lambda turn: turn.role == "assistant"):
        blocks = _blocks(neighbours)
        if is_assistant:
            names |= {block.id: block.name for block in blocks if isinstance(block, ToolUseBlock)}
            yield _assistant_message(blocks)
        else:
            yield from _user_messages(blocks, names)


def _assistant_message(blocks: Sequence[Block]) -> Message:
    thoughts = [block.thinking for block in blocks if isinstance(block, ThinkingBlock)]
    calls = [call_entry(block.id, block.name, block.input) for block in blocks if isinstance(block, ToolUseBlock)]
    extras = {"reasoning_content": BETWEEN_TEXTS.join(thoughts), "tool_calls": calls}
    return {"role": "assistant", "content": _text(blocks)} | {key: value for key, value in extras.items() if value}


def _user_messages(blocks: Sequence[Block], names: dict[str, str]) -> Iterator[Message]:
    """Results come first, since templates look for them right behind the calls."""
    results = [block for block in blocks if isinstance(block, ToolResultBlock)]
    for result in results:
        named = {"name": names[result.tool_use_id]} if result.tool_use_id in names else {}
        content = (_FAILED if result.is_error else "") + _text(result.content or ())
        yield {"role": "tool", "tool_call_id": result.tool_use_id, "content": content} | named
    text = _text(blocks)
    if text or not results:
        yield {"role": "user", "content": text}


def _blocks(messages: Iterable[InputMessage]) -> list[Block]:
    return [block for message in messages for block in message.content]


def _text(blocks: Sequence[Block]) -> str:
    texts = (block.text for block in blocks if isinstance(block, TextBlock | DocumentBlock))
    return BETWEEN_TEXTS.join(filter(None, texts))
