"""What a reply is made of, in the order in which it comes."""

from dataclasses import dataclass
from typing import TypeAlias

import msgspec


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

    @property
    def arguments_line(self) -> msgspec.Raw:
        """The arguments as one line; models may write them over several, which no line of JSON could hold."""
        return msgspec.Raw(msgspec.json.format(self.arguments.encode(), indent=0))


Event: TypeAlias = Content | Reasoning | ToolCall
