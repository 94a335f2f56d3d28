"""The ingress' end of the token channel."""

import asyncio
import logging

import msgspec
import zmq
import zmq.asyncio

from cluster.channel.endpoint import Endpoint, bind_encrypted
from cluster.channel.frames import decode_events
from cluster.tasks import cancel
from llama4coder.errors import Llama4CoderError, StreamLost
from llama4coder.types import TokenEvent

_log = logging.getLogger(__name__)


class TokenStream:
    """The events of one request, in order and without holes, or the error that ended them."""

    def __init__(self, offset: int) -> None:
        self.taken = asyncio.Event()  # a replica has the request
        self._items: asyncio.Queue[TokenEvent | Llama4CoderError] = asyncio.Queue()
        self._num_tokens = offset

    async def next_event(self) -> TokenEvent:
        """Wait for the next event; raises the error that ended the stream instead."""
        item = await self._items.get()
        if isinstance(item, Llama4CoderError):
            raise item
        return item

    def add(self, event: TokenEvent) -> None:
        """Append an event; one that does not follow the last ends the stream with `StreamLost`."""
        self.taken.set()
        if not event.token_ids and event.finish_reason is None:
            return
        if event.offset != self._num_tokens:
            self.fail(StreamLost(f"tokens {self._num_tokens} to {event.offset} were lost on the way"))
            return
        self._num_tokens += len(event.token_ids)
        self._items.put_nowait(event)

    def fail(self, error: Llama4CoderError) -> None:
        """End the stream with an error."""
        self._items.put_nowait(error)


class TokenReceiver:
    """One bound socket for all requests of an ingress; for the event loop that created it.

    Frames of requests that are not, or no longer, open are ignored.
    """

    def __init__(self, host: str) -> None:
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.rcvhwm = 0  # unbounded here, bounded at the senders
        self.endpoint: Endpoint = bind_encrypted(self._socket, host)
        self._streams: dict[str, TokenStream] = {}
        self._reader = asyncio.create_task(self._read())

    def open(self, request_id: str, offset: int) -> TokenStream:
        """Expect a request's events from a token on; whoever opens it closes it."""
        stream = TokenStream(offset)
        self._streams[request_id] = stream
        return stream

    def close_stream(self, request_id: str) -> None:
        """Ignore what still comes; idempotent."""
        self._streams.pop(request_id, None)

    def fail(self, error: Llama4CoderError) -> None:
        """End every open stream with an error."""
        for stream in self._streams.values():
            stream.fail(error)

    async def close(self) -> None:
        """Close the socket and fail what is open."""
        await cancel(self._reader)
        self._socket.close(linger=0)
        self._context.term()
        for stream in self._streams.values():
            stream.fail(StreamLost("the ingress is stopping"))

    async def _read(self) -> None:
        while True:
            frame = await self._socket.recv()
            try:
                events = decode_events(frame)
            except msgspec.DecodeError:
                _log.warning("a damaged token frame was ignored")  # the gap that it leaves ends its streams
                continue
            for event in events:
                stream = self._streams.get(event.request_id)
                if stream is not None:
                    stream.add(event)
