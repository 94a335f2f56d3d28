"""A message's content, which may be blocks, as one text."""

from pydantic_core import PydanticCustomError

from llama4coder.server.body import UNSUPPORTED
from llama4coder.server.fields import NO_TOOLS, ONLY_TEXT

_BETWEEN_BLOCKS = "\n\n"
_THINKING = frozenset({"thinking", "redacted_thinking"})  # of earlier turns, which models do not get to see again
# Claude Code begins its system prompt with a line for whoever bills. It differs from request to request, so that no
# prefix would ever be found cached.
_BILLING = "x-anthropic-billing-header:"
_TOOL_BLOCKS = ("tool_use", "tool_result")  # `server_tool_use` and its like end in one of them


def content_text(value: object) -> str:
    """A content as one string: itself, or the texts of its blocks."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise ValueError("must be a string or a list of content blocks")
    return _BETWEEN_BLOCKS.join(text for text in map(_block_text, value) if text is not None)


def system_text(value: object) -> str:
    """The same for a system prompt, without what is not meant for the model."""
    if value is None:
        return ""
    if isinstance(value, list):
        value = [block for block in value if not _is_billing(block)]
    return content_text(value)


def _is_billing(block: object) -> bool:
    return isinstance(block, dict) and str(block.get("text")).startswith(_BILLING)


def _block_text(block: object) -> str | None:
    """The text of a block; None for one that is left out."""
    if not isinstance(block, dict) or not isinstance(kind := block.get("type"), str):
        raise ValueError("every content block must be an object with a type")
    if kind in _THINKING:
        return None
    if kind.endswith(_TOOL_BLOCKS):
        raise PydanticCustomError(UNSUPPORTED, NO_TOOLS)
    if kind != "text":
        raise PydanticCustomError(UNSUPPORTED, ONLY_TEXT)
    text = block.get("text")
    if not isinstance(text, str):
        raise ValueError("the text of every text block must be a string")
    return text
