"""What a message's content may be made of. Errors say what would be right, never what was sent."""

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from llama4coder.server.body import FAIL_FAST, UNSUPPORTED, RequestModel
from llama4coder.server.fields import NO_IMAGES, NonEmpty, Refused

BETWEEN_TEXTS = "\n\n"
"""What divides the texts of one turn."""
_KINDS = frozenset({"text", "thinking", "redacted_thinking", "tool_use", "tool_result", "document"})
_TEXT_KINDS = frozenset({"text", "document"})
# What stands in histories that began at Anthropic, where its servers run some tools themselves.
_OF_SERVERS = re.compile(r"(server_tool_use|mcp_tool_use|(web_|code_|bash_|text_editor_|tool_search_|mcp_).*_result)\Z")
# Claude Code begins its system prompt with a line for whoever bills. It differs from request to request, so that no
# prefix would ever be found cached.
_BILLING = "x-anthropic-billing-header:"


def _as_blocks(value: object) -> object:
    """A plain string as the one block that it stands for."""
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    if not isinstance(value, list):
        raise ValueError("must be a string or a list of content blocks")
    return value


def _without_billing(value: object) -> object:
    value = _as_blocks([] if value is None else value)
    return [block for block in value if not _is_billing(block)] if isinstance(value, list) else value


def _is_billing(block: object) -> bool:
    return isinstance(block, dict) and str(block.get("text")).startswith(_BILLING)


def _known(block: object) -> object:
    return _checked(block, _KINDS)


def _known_text(block: object) -> object:
    return _checked(block, _TEXT_KINDS)


def _checked(block: object, kinds: frozenset[str]) -> object:
    """A block as it is, if it is of one of these kinds."""
    if not isinstance(block, dict) or not isinstance(kind := block.get("type"), str):
        raise ValueError("every content block must be an object with a type")
    if kind == "image":
        raise PydanticCustomError(UNSUPPORTED, NO_IMAGES)
    if _OF_SERVERS.match(kind):
        message = "tools that run on Anthropic's servers are out of reach here, and so is what they have found"
        raise PydanticCustomError(UNSUPPORTED, message)
    if kind not in kinds:
        message = "content blocks may be {kinds} here, and no others"
        raise PydanticCustomError(UNSUPPORTED, message, {"kinds": ", ".join(sorted(kinds))})
    return block


def _plain_text(kind: object) -> object:
    if isinstance(kind, str) and kind != "text":
        raise PydanticCustomError(UNSUPPORTED, "documents must be plain text: their source of type 'text'")
    return kind


class TextBlock(RequestModel):
    """Text as it is."""

    type: Literal["text"]
    text: str


class TextSource(RequestModel):
    """A document's text; files, and what URLs lead to, are no text."""

    type: Annotated[Literal["text"], BeforeValidator(_plain_text)]
    data: str


class Citations(RequestModel):
    """Whether the answer is to say where it found what."""

    enabled: Refused = None


class DocumentBlock(RequestModel):
    """A text with a heading of its own."""

    type: Literal["document"]
    source: TextSource
    title: str | None = None
    context: str | None = None
    citations: Citations | None = None

    @property
    def text(self) -> str:
        """All of it, the heading first."""
        return BETWEEN_TEXTS.join(part for part in (self.title, self.context, self.source.data) if part)


class ThinkingBlock(RequestModel):
    """What the model thought in an earlier turn; nobody checks the signature."""

    type: Literal["thinking"]
    thinking: str


class RedactedThinkingBlock(RequestModel):
    """What some other server's model thought, and none but that server can read."""

    type: Literal["redacted_thinking"]


class ToolUseBlock(RequestModel):
    """A call that an earlier reply made."""

    type: Literal["tool_use"]
    id: NonEmpty
    name: NonEmpty
    input: dict[str, object]


_Text = Annotated[TextBlock | DocumentBlock, Field(discriminator="type"), BeforeValidator(_known_text)]
TextBlocks = Annotated[list[_Text], FAIL_FAST, BeforeValidator(_as_blocks)]
SystemBlocks = Annotated[list[_Text], FAIL_FAST, BeforeValidator(_without_billing)]


class ToolResultBlock(RequestModel):
    """What came of a call."""

    type: Literal["tool_result"]
    tool_use_id: NonEmpty
    content: TextBlocks | None = None
    is_error: bool | None = None


_Block = Annotated[
    TextBlock | DocumentBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ToolResultBlock,
    Field(discriminator="type"),
    BeforeValidator(_known),
]
Block = TextBlock | DocumentBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ToolResultBlock
Blocks = Annotated[list[_Block], FAIL_FAST, BeforeValidator(_as_blocks)]
