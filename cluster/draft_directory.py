"""Where the replicas of the draft pool are now, as Serve knows."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from cluster.broadcast import ask_replicas
from cluster.channel.endpoint import Endpoint
from cluster.tasks import cancel
from llama4coder.scaling.pool_meter import PoolUse

_PERIOD_S = 1.0
_WAKE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where targets reach a replica; its name is another one after each start."""

    name: str
    endpoint: Endpoint


class DraftDirectory:
    """Asks every replica about once a second, in the event loop that made it, and says what `use` is made of them; any
    thread may look.

    A replica that answers with an error has gone. While one does not answer at all, the list stays as it is: whoever
    speaks to the replicas notices by himself. An empty pool is called for one replica while `has_work` says so.
    """

    def __init__(self, pool: DeploymentHandle[Any], has_work: Callable[[], bool], use: Callable[[], PoolUse]) -> None:
        self.replicas: Mapping[str, Endpoint] = {}  # another object with each change
        self._pool = pool
        self._has_work = has_work
        self._use = use
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """The last list stays."""
        await cancel(self._task)

    async def _follow(self) -> None:
        while True:
            await self._refresh()
            if not self.replicas and self._has_work():
                await self._wake()
            await asyncio.sleep(_PERIOD_S)

    async def _refresh(self) -> None:
        answers = await ask_replicas(self._pool, "whereabouts", self._use())
        if answers is None:
            return
        replicas = {answer.name: answer.endpoint for answer in answers if isinstance(answer, Whereabouts)}
        if replicas != self.replicas:
            self.replicas = replicas

    async def _wake(self) -> None:
        """Wait, but not for long, for a replica: Serve counts who waits."""
        response: Any = self._pool.wake.remote()
        try:
            async with asyncio.timeout(_WAKE_TIMEOUT_S):
                await response
        except (RayError, RayServeException, TimeoutError):
            response.cancel()
