"""A conversation as the prompt that the model's own template makes of it."""

from collections.abc import Iterator, Sequence

from llama4coder.server.anthropic.blocks import (
    BETWEEN_TEXTS,
    Block,
    DocumentBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from llama4coder.server.anthropic.schemas import CountRequest
from llama4coder.server.chat import ChatExtras
from llama4coder.server.generation import Prompt
from llama4coder.server.preprocess import Preprocessor
from llama4coder.server.tools import Message, template_call
from llama4coder.server.turns import template_turns

_FAILED = "Error: "  # templates know no other way to say so


async def to_prompt(preprocessor: Preprocessor, body: CountRequest, extras: ChatExtras) -> Prompt:
    """The prompt; an assistant's turn at the end is the beginning of the answer. Raises what `chat_prompt` raises."""
    return await preprocessor.chat_prompt(list(template_turns(list(_messages(body)))), extras)


def _messages(body: CountRequest) -> Iterator[Message]:
    """What each turn says, and its calls and results."""
    yield {"role": "system", "content": _text(body.system)}
    names: dict[str, str] = {}  # of the tools that were called, by the call's id
    for message in body.messages:
        blocks = message.content
        if message.role == "assistant":
            names |= {block.id: block.name for block in blocks if isinstance(block, ToolUseBlock)}
            yield _assistant_message(blocks)
        elif message.role == "system":
            yield {"role": "system", "content": _text(blocks)}
        else:
            yield from _user_messages(blocks, names)


def _assistant_message(blocks: Sequence[Block]) -> Message:
    thoughts = [block.thinking for block in blocks if isinstance(block, ThinkingBlock)]
    calls = [template_call(block.id, block.name, block.input) for block in blocks if isinstance(block, ToolUseBlock)]
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


def _text(blocks: Sequence[Block]) -> str:
    texts = (block.text for block in blocks if isinstance(block, TextBlock | DocumentBlock))
    return BETWEEN_TEXTS.join(filter(None, texts))
