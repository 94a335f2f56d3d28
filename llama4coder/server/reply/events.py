"""What a reply is made of, in the order in which it comes."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, repr=False)
class Content:
    """Text for the user."""

    text: str


@dataclass(frozen=True, slots=True, repr=False)
class Reasoning:
    """What the model thought before it answered."""

    text: str


@dataclass(frozen=True, slots=True, repr=False)
class ToolCall:
    """One whole call; `arguments` is the JSON text of an object."""

    name: str
    arguments: str


Event: TypeAlias = Content | Reasoning | ToolCall
