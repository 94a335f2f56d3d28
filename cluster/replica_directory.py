"""Which target replicas there are, as Serve knows; each is asked for its reports on the way."""

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from ray.serve.handle import DeploymentHandle

from cluster.broadcast import ask_replicas
from cluster.channel.endpoint import Endpoint
from cluster.tasks import cancel

_PERIOD_S = 1.0


class ReplicaDirectory:
    """Asks every replica about once a second to report to `endpoint`; for the event loop that created it.

    A replica that answers with an error has gone. While one does not answer at all, nothing is said: its reports, or
    their absence, tell enough.
    """

    def __init__(
        self, target: DeploymentHandle[Any], endpoint: Endpoint, on_replicas: Callable[[Collection[str]], None]
    ) -> None:
        self._target = target
        self._endpoint = endpoint
        self._on_replicas = on_replicas
        self.has_asked = asyncio.Event()  # once, whatever came of it
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Ask no more."""
        await cancel(self._task)

    async def _follow(self) -> None:
        while True:
            await self._ask()
            self.has_asked.set()
            await asyncio.sleep(_PERIOD_S)

    async def _ask(self) -> None:
        answers = await ask_replicas(self._target, "report_to", self._endpoint)
        if answers is not None:
            self._on_replicas([answer for answer in answers if isinstance(answer, str)])
