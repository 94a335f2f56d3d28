"""Text of other people inside a prompt: whatever it holds, it becomes no control token."""

import re
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from llama4coder.tokenizer.tokenizer import Tokenizer

_CUT = "\ufdd0"  # no character: Unicode keeps it for uses inside a program
_Value = TypeVar("_Value")


class ControlText:
    """Cuts control tokens apart where they are only quoted, so that a template may put the text anywhere.

    - `disarm` what goes into a template, then `encode` what comes out of it.
    - A text without control tokens stays as it is, and is encoded as the tokenizer does it.
    - Its mark between the parts is U+FDD0; of a text that has one itself, that vanishes.
    """

    def __init__(self, tokenizer: Tokenizer, allowed: Iterable[str] = ()) -> None:
        texts = sorted(tokenizer.control_texts.difference(allowed), key=len, reverse=True)
        either = "|".join(map(re.escape, texts)) or r"(?!)"
        self._any = re.compile(either)
        self._each = re.compile(f"(?=(?:{either}))(.)")  # also those that overlap
        self._tokenizer = tokenizer

    def disarm(self, value: _Value) -> _Value:
        """A JSON value whose texts, keys included, are cut inside of every control token."""
        text = msgspec.json.encode(value).decode()
        if self._any.search(text) is None:
            return value
        disarmed: _Value = msgspec.json.decode(self._each.sub(rf"\1{_CUT}", text))
        return disarmed

    def encode(self, text: str) -> list[int]:
        """Token ids of a rendered prompt; templates write the BOS themselves."""
        first, *others = text.split(_CUT)
        token_ids = self._tokenizer.encode(first, add_bos=False)
        for part in others:
            token_ids += self._tokenizer.encode_inside(part, parse_special=True)
        return token_ids


def without_cuts(text: str) -> str:
    """A rendered prompt as it reads."""
    return text.replace(_CUT, "")
