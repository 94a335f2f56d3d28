"""Server-sent events, as far as an OpenAI-style endpoint uses them."""


class EventParser:
    """Turns the bytes of a response into the data of its events, however the network cut them.

    Lines end with LF or CRLF. Comments and all fields but `data` are skipped; an event ends with an empty line.
    Works on bytes, since splitting text by lines would also split at characters that an answer may hold.
    """

    def __init__(self) -> None:
        self._tail = b""
        self._data: list[bytes] = []

    def push(self, received: bytes) -> list[bytes]:
        """The data of every event that `received` completes."""
        *lines, self._tail = (self._tail + received).split(b"\n")
        events = []
        for line in lines:
            content = line.removesuffix(b"\r")
            if content.startswith(b"data:"):
                self._data.append(content.removeprefix(b"data:").removeprefix(b" "))
            elif not content and self._data:
                events.append(b"\n".join(self._data))
                self._data = []
        return events
