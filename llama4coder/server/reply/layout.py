"""White space between a reply's parts."""

from collections.abc import Iterable

from llama4coder.server.reply.events import Content, Event, Reasoning, ToolCall


class Layout:
    """Drops white space where a reply passes from one kind of part to another; models put it around their markers.

    A reply of content alone keeps every character, and content that goes on after a call keeps what divides it from
    what came before.
    """

    def __init__(self) -> None:
        self._kind: type[Event] = Content
        self._text_kind: type[Content] | type[Reasoning] = Content
        self._is_at_border = False
        self._has_content = False
        self._space = ""  # at the end of the last text; what follows decides about it

    def push(self, events: Iterable[Event]) -> list[Event]:
        """The events without such white space."""
        return [kept for event in events if (kept := self._keep(event)) is not None]

    def finish(self) -> list[Event]:
        """White space at the end of the last text."""
        return [self._text_kind(self._space)] if self._space and not self._is_at_border else []

    def _keep(self, event: Event) -> Event | None:
        if type(event) is not self._kind:
            self._kind, self._is_at_border, self._space = type(event), True, ""
        return event if isinstance(event, ToolCall) else self._trimmed(event)

    def _trimmed(self, event: Content | Reasoning) -> Event | None:
        self._text_kind = type(event)
        text = self._space + event.text
        if self._is_at_border and not (self._has_content and isinstance(event, Content)):
            text = text.lstrip()
        kept = text.rstrip()
        self._space = text[len(kept) :]
        if not kept:
            return None
        self._is_at_border = False
        self._has_content = self._has_content or isinstance(event, Content)
        return type(event)(kept)
