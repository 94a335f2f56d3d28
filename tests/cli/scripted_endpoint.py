"""An OpenAI-style endpoint that answers by script and remembers what it was asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True)
class Reply:
    """What the endpoint sends back for one request; with `hang`, it keeps the answer open after the last piece."""

    pieces: tuple[bytes, ...]
    status: int = 200
    hang: bool = False


@dataclass(slots=True)
class Endpoint:
    """The script, and what was asked."""

    url: str
    models: Reply
    metrics: list[Reply] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    asked: list[dict[str, object]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    client_left: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)


def json_reply(body: object, status: int = 200) -> Reply:
    return Reply((json.dumps(body).encode(),), status)


def event(text: str = "", finish_reason: str | None = None) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}]}
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def answer(*texts: str, finish_reason: str = "stop") -> Reply:
    return Reply((*(event(text) for text in texts), event("", finish_reason), b"data: [DONE]\n\n"))


@contextmanager
def serve_script() -> Iterator[Endpoint]:
    """A running endpoint; its replies, and its pages of metrics, are given in order, the last one again and again."""
    endpoint = Endpoint("", json_reply({"object": "list", "data": [{"id": "first"}, {"id": "second"}]}))

    class Handler(_Handler):
        script = endpoint

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _next(replies: list[Reply]) -> Reply:
    return replies.pop(0) if len(replies) > 1 else replies[0]


class _Handler(BaseHTTPRequestHandler):
    script: Endpoint

    def do_GET(self) -> None:
        self.script.authorizations.append(self.headers["Authorization"])
        is_metrics = self.path == "/metrics"
        self._send(_next(self.script.metrics) if is_metrics else self.script.models)

    def do_POST(self) -> None:
        self.script.authorizations.append(self.headers["Authorization"])
        self.script.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._send(_next(self.script.replies))

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.end_headers()
        for piece in reply.pieces:
            self.wfile.write(piece)
            self.wfile.flush()
        if reply.hang:
            self._wait_for_client_to_leave()

    def _wait_for_client_to_leave(self) -> None:
        while not self.script.closing.is_set():
            self.connection.settimeout(0.05)
            try:
                if self.connection.recv(1) == b"":
                    self.script.client_left.set()
                    return
            except TimeoutError:
                continue
            except ConnectionError:
                self.script.client_left.set()
                return
