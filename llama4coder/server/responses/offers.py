"""The tools of a request as the model is offered them, which knows functions and nothing else."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from llama4coder.errors import InvalidRequest
from llama4coder.server.responses.schemas import InputRequest
from llama4coder.server.responses.tool_fields import (
    AllowedTools,
    CustomField,
    FunctionField,
    GrammarFormat,
    NamedTool,
    NamespaceField,
)
from llama4coder.server.tools import FREE_CHOICE, NO_PARAMETERS, Tool, ToolChoice, check_tools

_INPUT = "input"
_TEXT_PARAMETERS: Mapping[str, object] = {
    "type": "object",
    "properties": {_INPUT: {"type": "string"}},
    "required": [_INPUT],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True, repr=False)
class Offer:
    """One tool: what the model sees, and what the client calls it."""

    tool: Tool
    name: str
    namespace: str | None
    is_custom: bool


@dataclass(frozen=True, slots=True, repr=False)
class Offers:
    """All that the model may call, and whether it must."""

    offers: tuple[Offer, ...] = ()
    choice: ToolChoice = FREE_CHOICE

    @property
    def tools(self) -> tuple[Tool, ...]:
        """What the model sees."""
        return tuple(offer.tool for offer in self.offers)


def offered_name(name: str, namespace: str | None) -> str:
    """A tool's name as the model knows it."""
    return name if namespace is None else f"{namespace}__{name}"


def custom_arguments(text: str) -> dict[str, object]:
    """A custom tool's input as the arguments of the function that stands for it."""
    return {_INPUT: text}


def custom_input(arguments: str) -> str:
    """The input among such arguments; all of them where a model has written something else."""
    text = json.loads(arguments).get(_INPUT)
    return text if isinstance(text, str) else arguments


def offers_of(body: InputRequest) -> Offers:
    """What the model is offered.

    Raises:
        InvalidRequest: two tools have one name, or `tool_choice` names a tool that is not there.
    """
    choice = body.tool_choice
    offers = tuple(_all_offers(body.tools or ()))
    check_tools([offer.tool for offer in offers])
    if choice is None or choice == "auto":
        return Offers(offers)
    if choice == "none":
        return Offers()
    if isinstance(choice, AllowedTools):
        allowed = {_named(offers, tool).tool.name for tool in choice.tools}
        offers = tuple(offer for offer in offers if offer.tool.name in allowed)
        return Offers(offers, ToolChoice(is_required=choice.mode == "required"))
    if isinstance(choice, NamedTool):
        return Offers(offers, ToolChoice(is_required=True, name=_named(offers, choice).tool.name))
    if not offers:
        raise InvalidRequest("a call is required, and no tool is offered that the model could call", "tool_choice")
    return Offers(offers, ToolChoice(is_required=True))


def _named(offers: Sequence[Offer], wanted: NamedTool) -> Offer:
    for offer in offers:
        is_custom = wanted.type == "custom"
        if (offer.name, offer.namespace, offer.is_custom) == (wanted.name, wanted.namespace, is_custom):
            return offer
    raise InvalidRequest("'tool_choice' names a tool that is not among 'tools'", "tool_choice")


def _all_offers(fields: Iterable[object]) -> Iterator[Offer]:
    for field in fields:
        if isinstance(field, NamespaceField):
            for own in field.tools:
                yield _offer(own, field)
        elif isinstance(field, FunctionField | CustomField):
            yield _offer(field, None)


def _offer(field: FunctionField | CustomField, space: NamespaceField | None) -> Offer:
    namespace = None if space is None else space.name
    description = _lines(None if space is None else space.description, field.description, _rule(field))
    is_custom = isinstance(field, CustomField)
    parameters = _TEXT_PARAMETERS if isinstance(field, CustomField) else field.parameters or NO_PARAMETERS
    is_strict = isinstance(field, FunctionField) and field.strict is True
    tool = Tool(offered_name(field.name, namespace), description, parameters, is_strict)
    return Offer(tool, field.name, namespace, is_custom)


def _rule(field: FunctionField | CustomField) -> str | None:
    if isinstance(field, CustomField) and isinstance(field.format, GrammarFormat):
        return f"'{_INPUT}' must match this {field.format.syntax} grammar:\n{field.format.definition}"
    return None


def _lines(*texts: str | None) -> str | None:
    return "\n".join(filter(None, texts)) or None
