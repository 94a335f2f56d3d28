"""One call to every replica of a deployment."""

import logging
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle

_TIMEOUT_S = 5.0

_log = logging.getLogger(__name__)


async def ask_replicas(deployment: DeploymentHandle[Any], method: str, *args: object) -> list[Any] | None:
    """What each replica answers, or the error that it answers with; None while one does not answer at all."""
    try:
        answers: list[Any] = await deployment.broadcast(method, *args).results_async(
            timeout_s=_TIMEOUT_S, return_exceptions=True
        )
    except DeploymentUnavailableError:
        return []  # there is no replica
    except (RayError, RayServeException, TimeoutError) as error:
        _log.debug("%s was not asked of all replicas: %s", method, type(error).__name__)
        return None
    return answers
