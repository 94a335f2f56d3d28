"""White space between a reply's parts."""

from collections.abc import Iterable

from llama4coder.server.reply.events import Content, Event, Reasoning, ToolCall


class Layout:
    """Drops white space where a reply passes from one kind of part to another; models put it around their markers.

    A reply of content alone keeps every character.
    """

    def __init__(self) -> None:
        self._kind: type[Event] = Content
        self._is_at_border = False
        self._space = ""  # at the end of the last text; what follows decides about it

    def push(self, events: Iterable[Event]) -> list[Event]:
        """The events without such white space."""
        return [kept for event in events if (kept := self._keep(event)) is not None]

    def finish(self) -> list[Event]:
        """White space at the end of the last text."""
        return [self._kind(self._space)] if self._space and self._kind is not ToolCall else []

    def _keep(self, event: Event) -> Event | None:
        if type(event) is not self._kind:
            self._kind, self._is_at_border, self._space = type(event), True, ""
        return event if isinstance(event, ToolCall) else self._trimmed(event)

    def _trimmed(self, event: Content | Reasoning) -> Event | None:
        text = event.text.lstrip() if self._is_at_border else self._space + event.text
        kept = text.rstrip()
        self._space = text[len(kept) :]
        self._is_at_border = self._is_at_border and not kept
        return type(event)(kept) if kept else None
