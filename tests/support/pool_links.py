"""A draft pool in the thread of its target, frames and all: it drafts when the target looks for answers."""

import time
from collections.abc import Mapping, Sequence

from cluster.channel.draft_client import PoolProposer
from cluster.channel.draft_frames import decode_news, encode_answer
from cluster.channel.draft_link import Link, Links
from cluster.channel.endpoint import Endpoint
from llama4coder.obs.pool import NullPoolObserver
from llama4coder.spec.forecast import Drafter
from llama4coder.spec.pool_client import PoolClient, PoolLimits
from llama4coder.spec.pool_host import PoolHost

_SESSION_TIMEOUT_S = 600.0
_LIMITS = PoolLimits(silence_timeout_s=60.0, max_context_tokens=4096)


class HostLink:
    """Implements `Link`."""

    def __init__(self, host: PoolHost) -> None:
        self._host = host

    def send(self, frame: bytes) -> None:
        self._host.receive(decode_news(frame), time.monotonic())

    def receive(self) -> Sequence[bytes]:
        return [encode_answer(answer) for answer in self._host.round(time.monotonic()).values()]

    def close(self) -> None:
        pass


class HostLinks:
    """Implements `Links` to a replica for each drafter; an endpoint's address is the drafter's name."""

    def __init__(self, drafters: Mapping[str, Drafter]) -> None:
        self._hosts = {name: PoolHost(drafter, _SESSION_TIMEOUT_S) for name, drafter in drafters.items()}

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        return {name: Endpoint(name, None) for name in self._hosts}

    def connect(self, endpoint: Endpoint) -> Link:
        return HostLink(self._hosts[endpoint.address])

    def close(self) -> None:
        pass


def proposer_of(links: Links, endpoints: Mapping[str, Endpoint]) -> PoolProposer:
    """A target's proposer over these links."""
    observer = NullPoolObserver()
    return PoolProposer(PoolClient("target", _LIMITS, observer), lambda: endpoints, links, observer)
