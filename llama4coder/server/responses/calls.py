"""Calls as items and events; a call comes whole, so that its events do, too."""

import uuid
from dataclasses import dataclass

from msgspec import UNSET, UnsetType

from llama4coder.server.reply.events import ToolCall
from llama4coder.server.responses.events import (
    ArgumentsDelta,
    ArgumentsDone,
    Event,
    InputDelta,
    InputDone,
    ItemAdded,
    ItemDone,
)
from llama4coder.server.responses.offers import Offer, custom_input
from llama4coder.server.responses.replies import OutputCall, OutputCustomCall, OutputItem
from llama4coder.server.tools import new_call_id


@dataclass(frozen=True, slots=True, repr=False)
class WrittenCall:
    """One call, and what a stream says of it."""

    item: OutputItem
    events: tuple[Event, ...]


def write_call(index: int, call: ToolCall, offer: Offer | None) -> WrittenCall:
    """A call of what was offered under this name; of a function where nothing was."""
    name = call.name if offer is None else offer.name
    namespace = UNSET if offer is None or offer.namespace is None else offer.namespace
    if offer is not None and offer.is_custom:
        return _custom_call(index, name, namespace, custom_input(call.arguments))
    return _function_call(index, name, namespace, call.arguments)


def _function_call(index: int, name: str, namespace: str | UnsetType, arguments: str) -> WrittenCall:
    item_id, call_id = f"fc_{uuid.uuid4().hex}", new_call_id()
    item = OutputCall(item_id, call_id, name, arguments, "completed", namespace)
    begun = OutputCall(item_id, call_id, name, "", "in_progress", namespace)
    events = (
        ItemAdded(output_index=index, item=begun),
        ArgumentsDelta(output_index=index, item_id=item_id, delta=arguments),
        ArgumentsDone(output_index=index, item_id=item_id, name=name, arguments=arguments),
        ItemDone(output_index=index, item=item),
    )
    return WrittenCall(item, events)


def _custom_call(index: int, name: str, namespace: str | UnsetType, text: str) -> WrittenCall:
    item_id, call_id = f"ctc_{uuid.uuid4().hex}", new_call_id()
    item = OutputCustomCall(item_id, call_id, name, text, "completed", namespace)
    begun = OutputCustomCall(item_id, call_id, name, "", "in_progress", namespace)
    events = (
        ItemAdded(output_index=index, item=begun),
        InputDelta(output_index=index, item_id=item_id, delta=text),
        InputDone(output_index=index, item_id=item_id, input=text),
        ItemDone(output_index=index, item=item),
    )
    return WrittenCall(item, events)
