"""Contents of items, which may be parts, as one text."""

from collections.abc import Mapping

from pydantic_core import PydanticCustomError

from llama4coder.server.body import UNSUPPORTED
from llama4coder.server.fields import ONLY_TEXT

_BETWEEN_PARTS = "\n"  # each is a text of its own to the agents that send several
_TEXT_OF: Mapping[str, str] = {  # where a part of each kind has its text
    "input_text": "text",
    "output_text": "text",
    "text": "text",
    "summary_text": "text",
    "reasoning_text": "text",
    "refusal": "refusal",
}
# A tool may show the model what it cannot see. A refusal would end the whole conversation, whose history keeps it.
_UNSEEN: Mapping[str, str] = {
    "input_image": "[an image, which this model cannot see]",
    "input_file": "[a file, which this model cannot read]",
}


def content_text(value: object) -> str:
    """A content as one string: itself, or the texts of its parts."""
    return _joined(value, {})


def output_text(value: object) -> str:
    """What a tool gave back as one string; it says where there was more than text."""
    return _joined(value, _UNSEEN)


def parts_text(value: object) -> str:
    """Summaries or contents of reasoning, if there are any, as one string."""
    return "" if value is None else _joined(_as_list(value), {})


def _joined(value: object, unseen: Mapping[str, str]) -> str:
    return (
        value if isinstance(value, str) else _BETWEEN_PARTS.join(_part_text(part, unseen) for part in _as_list(value))
    )


def _as_list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError("must be a string or a list of parts")
    return value


def _part_text(part: object, unseen: Mapping[str, str]) -> str:
    if not isinstance(part, dict) or not isinstance(kind := part.get("type"), str):
        raise ValueError("every part must be an object with a type")
    if kind in unseen:
        return unseen[kind]
    if kind not in _TEXT_OF:
        raise PydanticCustomError(UNSUPPORTED, ONLY_TEXT)
    text = part.get(_TEXT_OF[kind])
    if not isinstance(text, str):
        raise ValueError("the text of every part must be a string")
    return text
