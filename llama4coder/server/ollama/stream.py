"""An answer as lines of JSON; the last one says why it ended, and counts."""

from llama4coder.server.error_bodies import ollama_error
from llama4coder.server.errors import Refusal
from llama4coder.server.generation import Chunk, Usage
from llama4coder.server.ollama.writer import Writer

# JSON may hold them as they are, but some clients take them for the end of a line, Ollama's own for Python among them.
_LINE_BREAKS = "\x85\u2028\u2029"


class JsonLines:
    """One line per part of the answer."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._reader = writer.reader()
        self._last: Chunk | None = None

    def chunk(self, chunk: Chunk) -> bytes:
        self._last = chunk
        return b"".join(_line(self._writer.part(event)) for event in self._reader.read(chunk))

    def end(self, usage: Usage) -> bytes:
        assert self._last is not None
        return _line(self._writer.end(self._last, usage))

    def error(self, refusal: Refusal) -> bytes:
        return _line(ollama_error(refusal))


def _line(data: bytes) -> bytes:
    for char in _LINE_BREAKS:
        data = data.replace(char.encode(), f"\\u{ord(char):04x}".encode())
    return data + b"\n"
