"""What the request that a task works for generates, for those who watch requests from outside."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from llama4coder.server.generation import Generation


class Watched:
    """A request, and its generation as soon as there is one."""

    def __init__(self) -> None:
        self.generation: Generation | None = None


class CurrentGeneration:
    """Leads from the place where a generation is made to whoever watches its request."""

    def __init__(self) -> None:
        self._variable: ContextVar[Watched | None] = ContextVar("watched", default=None)

    @contextmanager
    def watching(self) -> Iterator[Watched]:
        """Watch one request; whatever works for it is started inside."""
        watched = Watched()
        token = self._variable.set(watched)
        try:
            yield watched
        finally:
            self._variable.reset(token)

    def note(self, generation: Generation) -> None:
        """Show a generation to whoever watches the request of this task."""
        watched = self._variable.get()
        if watched is not None:
            watched.generation = generation
