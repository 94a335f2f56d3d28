"""Items of text while they are written: a message, or reasoning in one of its two places."""

import uuid
from abc import ABC, abstractmethod

from llama4coder.server.openai.replies import ChatTokenLogprob
from llama4coder.server.responses.events import (
    Event,
    ItemAdded,
    ItemDone,
    PartAdded,
    PartDone,
    ReasoningDelta,
    ReasoningDone,
    SummaryDelta,
    SummaryDone,
    SummaryPartAdded,
    SummaryPartDone,
    TextDelta,
    TextDone,
)
from llama4coder.server.responses.replies import (
    ItemStatus,
    OutputItem,
    OutputMessage,
    OutputReasoning,
    OutputText,
    ReasoningText,
    SummaryText,
)

Logprobs = list[ChatTokenLogprob]


class TextItem(ABC):
    """An item with one part, whose text comes in pieces."""

    def __init__(self, prefix: str, index: int) -> None:
        self.id = f"{prefix}_{uuid.uuid4().hex}"
        self.index = index
        self._texts: list[str] = []
        self._logprobs: Logprobs = []

    def begin(self) -> list[Event]:
        """What announces it, without any text yet."""
        return [ItemAdded(output_index=self.index, item=self._empty()), self._part_added()]

    def add(self, text: str, logprobs: Logprobs) -> Event:
        """What follows."""
        self._texts.append(text)
        self._logprobs += logprobs
        return self._delta(text, logprobs)

    def end(self, status: ItemStatus) -> list[Event]:
        """What closes it; the last event has the whole item."""
        done = ItemDone(output_index=self.index, item=self.item(status))
        return [*self._parts_done("".join(self._texts)), done]

    @abstractmethod
    def item(self, status: ItemStatus) -> OutputItem:
        """The whole item."""

    @abstractmethod
    def _empty(self) -> OutputItem: ...

    @abstractmethod
    def _part_added(self) -> Event: ...

    @abstractmethod
    def _delta(self, text: str, logprobs: Logprobs) -> Event: ...

    @abstractmethod
    def _parts_done(self, text: str) -> tuple[Event, Event]: ...


class MessageText(TextItem):
    """What the user gets to read."""

    def __init__(self, index: int) -> None:
        super().__init__("msg", index)

    def item(self, status: ItemStatus) -> OutputMessage:
        """The whole message."""
        return OutputMessage(self.id, [OutputText("".join(self._texts), self._logprobs)], status)

    def _empty(self) -> OutputMessage:
        return OutputMessage(self.id, [], "in_progress")

    def _part_added(self) -> Event:
        return PartAdded(output_index=self.index, item_id=self.id, part=OutputText(""))

    def _delta(self, text: str, logprobs: Logprobs) -> Event:
        return TextDelta(output_index=self.index, item_id=self.id, delta=text, logprobs=logprobs)

    def _parts_done(self, text: str) -> tuple[Event, Event]:
        done = TextDone(output_index=self.index, item_id=self.id, text=text, logprobs=self._logprobs)
        return done, PartDone(output_index=self.index, item_id=self.id, part=OutputText(text, self._logprobs))


class RawReasoning(TextItem):
    """What the model thought."""

    def __init__(self, index: int) -> None:
        super().__init__("rs", index)

    def item(self, status: ItemStatus) -> OutputReasoning:
        """The whole reasoning."""
        return OutputReasoning(self.id, status, content=[ReasoningText("".join(self._texts))])

    def _empty(self) -> OutputReasoning:
        return OutputReasoning(self.id, "in_progress")

    def _part_added(self) -> Event:
        return PartAdded(output_index=self.index, item_id=self.id, part=ReasoningText(""))

    def _delta(self, text: str, logprobs: Logprobs) -> Event:
        return ReasoningDelta(output_index=self.index, item_id=self.id, delta=text)

    def _parts_done(self, text: str) -> tuple[Event, Event]:
        done = ReasoningDone(output_index=self.index, item_id=self.id, text=text)
        return done, PartDone(output_index=self.index, item_id=self.id, part=ReasoningText(text))


class ShownReasoning(TextItem):
    """The same for clients that ask for a summary and show nothing else: all of it is there."""

    def __init__(self, index: int) -> None:
        super().__init__("rs", index)

    def item(self, status: ItemStatus) -> OutputReasoning:
        """The whole reasoning."""
        return OutputReasoning(self.id, status, [SummaryText("".join(self._texts))])

    def _empty(self) -> OutputReasoning:
        return OutputReasoning(self.id, "in_progress")

    def _part_added(self) -> Event:
        return SummaryPartAdded(output_index=self.index, item_id=self.id, part=SummaryText(""))

    def _delta(self, text: str, logprobs: Logprobs) -> Event:
        return SummaryDelta(output_index=self.index, item_id=self.id, delta=text)

    def _parts_done(self, text: str) -> tuple[Event, Event]:
        done = SummaryDone(output_index=self.index, item_id=self.id, text=text)
        return done, SummaryPartDone(output_index=self.index, item_id=self.id, part=SummaryText(text))
