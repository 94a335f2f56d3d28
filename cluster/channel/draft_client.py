"""The target's end of the draft channel."""

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from cluster.channel.draft_frames import decode_answer, encode_news
from cluster.channel.draft_link import Link, Links
from cluster.channel.endpoint import Endpoint
from llama4coder.obs.pool import PoolObserver
from llama4coder.spec.pool_client import PoolClient
from llama4coder.spec.types import Draft, DraftQuery, RowOutcome
from llama4coder.types import GenerateRequest


class PoolProposer:
    """Asks the replicas of a draft pool; implements `llama4coder.spec.types.Proposer`, and never waits for any of them.

    What has arrived when a draft is asked for can be used; the rest is late. `replicas` tells where the replicas are
    now, as far as is known; it is called often, and gives the same object while nothing has changed.
    """

    def __init__(
        self,
        client: PoolClient,
        replicas: Callable[[], Mapping[str, Endpoint]],
        links: Links,
        observer: PoolObserver,
    ) -> None:
        self._client = client
        self._replicas = replicas
        self._connector = links
        self._observer = observer
        self._connected: Mapping[str, Endpoint] = {}
        self._links: dict[str, Link] = {}
        self._has_looked = False  # since the last step

    def begin(self, request: GenerateRequest) -> None:
        """See `Proposer.begin`."""
        self._client.begin(request)
        self._send()  # the replica can read the prompt while the target does

    def may_guess(self, request_id: str) -> bool:
        """See `Proposer.may_guess`."""
        if not self._has_looked:
            self._has_looked = True
            self._receive()
        return self._client.may_guess(request_id)

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, Draft]:
        """See `Proposer.propose`."""
        self._receive()
        return self._client.propose(queries)

    def observe(self, outcomes: Sequence[RowOutcome]) -> None:
        """See `Proposer.observe`."""
        self._has_looked = False
        self._client.observe(outcomes, time.monotonic())
        self._send()

    def end(self, request_id: str) -> None:
        """See `Proposer.end`."""
        self._client.end(request_id)
        self._send()

    def close(self) -> None:
        """See `Proposer.close`; the replicas will forget it by and by."""
        for link in self._links.values():
            link.close()
        self._links.clear()
        self._connector.close()

    def _send(self) -> None:
        self._reconnect()
        for name, news in self._client.news(time.monotonic()).items():
            self._links[name].send(encode_news(news))

    def _receive(self) -> None:
        for name, link in self._links.items():
            for frame in link.receive():
                try:
                    answer = decode_answer(frame)
                except msgspec.DecodeError:
                    self._observer.on_pool_frame_ignored()
                    continue
                self._client.receive(name, answer, time.monotonic())

    def _reconnect(self) -> None:
        """Follow the replicas that come and go."""
        replicas = self._replicas()
        if replicas is self._connected:
            return
        for name in self._links.keys() - replicas.keys():
            self._links.pop(name).close()
        for name in replicas.keys() - self._links.keys():
            self._links[name] = self._connector.connect(replicas[name])
        self._client.set_replicas(replicas.keys())
        self._observer.on_pool_replicas(len(replicas))
        self._connected = replicas
