"""Fields that come in several shapes, brought into one. Errors say what would be right, never what was sent."""

from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError

from llama4coder.server.body import UNSUPPORTED
from llama4coder.server.fields import ONLY_TEXT

_MAX_BIAS = 100
_PROMPT_SHAPES = "must be a string, a list of strings, a list of token ids, or a list of lists of token ids"


def content_text(value: object, info: ValidationInfo) -> str:
    """A content as one string: itself, its text parts joined, or nothing for an assistant's null."""
    if isinstance(value, str):
        return value
    if value is None and info.data.get("role") == "assistant":
        return ""
    if not isinstance(value, list):
        raise ValueError("must be a string or a list of text parts")
    return "".join(map(_part_text, value))


def _part_text(part: object) -> str:
    if not isinstance(part, dict) or not isinstance(kind := part.get("type"), str):
        raise ValueError("every part must be an object with a type")
    if kind != "text":
        raise PydanticCustomError(UNSUPPORTED, ONLY_TEXT)
    text = part.get("text")
    if not isinstance(text, str):
        raise ValueError("the text of every text part must be a string")
    return text


def token_biases(value: object) -> dict[int, float] | None:
    """OpenAI's `logit_bias`: token ids, which are strings in JSON, to numbers."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError("must be an object of token ids and numbers")
    return {_token_id(key): _bias(bias) for key, bias in value.items()}


def _token_id(key: object) -> int:
    # More digits than any id has would only cost time.
    if not (isinstance(key, str) and key.isascii() and key.isdigit() and len(key) <= 18):
        raise ValueError("every key must be a token id")
    return int(key)


def _bias(bias: object) -> float:
    if isinstance(bias, bool) or not isinstance(bias, int | float) or not -_MAX_BIAS <= bias <= _MAX_BIAS:
        raise ValueError(f"every value must be a number from -{_MAX_BIAS} to {_MAX_BIAS}")
    return float(bias)


def prompt_list(value: object) -> list[str | list[int]]:
    """The four shapes of a completion's prompt as a list of prompts."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        raise ValueError(f"{_PROMPT_SHAPES}, and not empty")
    if all(type(item) is int for item in value):
        return [value]
    if all(isinstance(item, str) for item in value) or all(map(_is_token_list, value)):
        return value
    raise ValueError(_PROMPT_SHAPES)


def _is_token_list(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)
