"""Where the replicas of the draft pool are now, as Serve knows."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle

from cluster.channel.endpoint import Endpoint

_PERIOD_S = 1.0
_TIMEOUT_S = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where targets reach a replica; its name is another one after each start."""

    name: str
    endpoint: Endpoint


class DraftDirectory:
    """Asks every replica about once a second, in the event loop that made it; any thread may look.

    A replica that answers with an error has gone. While one does not answer at all, the list stays as it is: whoever
    speaks to the replicas notices by himself. An empty pool is called for one replica while `has_work` says so.
    """

    def __init__(self, pool: DeploymentHandle[Any], has_work: Callable[[], bool]) -> None:
        self.replicas: Mapping[str, Endpoint] = {}  # another object with each change
        self._pool = pool
        self._has_work = has_work
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """The last list stays."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _follow(self) -> None:
        while True:
            await self._refresh()
            if not self.replicas and self._has_work():
                await self._wake()
            await asyncio.sleep(_PERIOD_S)

    async def _refresh(self) -> None:
        try:
            answers = await self._pool.broadcast("whereabouts").results_async(
                timeout_s=_TIMEOUT_S, return_exceptions=True
            )
        except DeploymentUnavailableError:
            answers = []  # there is no replica
        except (RayError, RayServeException, TimeoutError) as error:
            _log.debug("the draft pool was not asked: %s", type(error).__name__)
            return
        replicas = {answer.name: answer.endpoint for answer in answers if isinstance(answer, Whereabouts)}
        if replicas != self.replicas:
            self.replicas = replicas

    async def _wake(self) -> None:
        """Wait, but not for long, for a replica: Serve counts who waits."""
        response: Any = self._pool.wake.remote()
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await response
        except (RayError, RayServeException, TimeoutError):
            response.cancel()
