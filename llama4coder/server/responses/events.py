"""Events of a stream; each gets its `sequence_number` when it is sent."""

from msgspec import Struct, field

from llama4coder.server.openai.replies import ChatTokenLogprob
from llama4coder.server.responses.replies import OutputItem, OutputText, ReasoningText, ResponseReply, SummaryText


class Event(Struct, tag_field="type", kw_only=True):
    """Any event."""

    sequence_number: int = 0


class ResponseCreated(Event, tag="response.created"):
    response: ResponseReply


class ResponseInProgress(Event, tag="response.in_progress"):
    response: ResponseReply


class ResponseCompleted(Event, tag="response.completed"):
    response: ResponseReply


class ResponseIncomplete(Event, tag="response.incomplete"):
    response: ResponseReply


class ResponseFailed(Event, tag="response.failed"):
    response: ResponseReply


class ErrorEvent(Event, tag="error"):
    code: str | None
    message: str
    param: str | None


class ItemAdded(Event, tag="response.output_item.added"):
    output_index: int
    item: OutputItem


class ItemDone(Event, tag="response.output_item.done"):
    output_index: int
    item: OutputItem


class OfItem(Event):
    """An event about a part of an item."""

    output_index: int
    item_id: str


class PartAdded(OfItem, tag="response.content_part.added"):
    part: OutputText | ReasoningText
    content_index: int = 0


class PartDone(OfItem, tag="response.content_part.done"):
    part: OutputText | ReasoningText
    content_index: int = 0


class TextDelta(OfItem, tag="response.output_text.delta"):
    delta: str
    logprobs: list[ChatTokenLogprob] = field(default_factory=list)
    content_index: int = 0


class TextDone(OfItem, tag="response.output_text.done"):
    text: str
    logprobs: list[ChatTokenLogprob] = field(default_factory=list)
    content_index: int = 0


class ReasoningDelta(OfItem, tag="response.reasoning_text.delta"):
    delta: str
    content_index: int = 0


class ReasoningDone(OfItem, tag="response.reasoning_text.done"):
    text: str
    content_index: int = 0


class SummaryPartAdded(OfItem, tag="response.reasoning_summary_part.added"):
    part: SummaryText
    summary_index: int = 0


class SummaryPartDone(OfItem, tag="response.reasoning_summary_part.done"):
    part: SummaryText
    summary_index: int = 0


class SummaryDelta(OfItem, tag="response.reasoning_summary_text.delta"):
    delta: str
    summary_index: int = 0


class SummaryDone(OfItem, tag="response.reasoning_summary_text.done"):
    text: str
    summary_index: int = 0


class ArgumentsDelta(OfItem, tag="response.function_call_arguments.delta"):
    delta: str


class ArgumentsDone(OfItem, tag="response.function_call_arguments.done"):
    name: str
    arguments: str


class InputDelta(OfItem, tag="response.custom_tool_call_input.delta"):
    delta: str


class InputDone(OfItem, tag="response.custom_tool_call_input.done"):
    input: str
