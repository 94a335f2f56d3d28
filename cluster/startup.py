"""From a running Ray to an endpoint that answers."""

import http.client
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from ray import serve
from ray.serve.config import gRPCOptions
from ray.serve.schema import ServeDeploySchema

from cluster.errors import error_line
from cluster.ray_names import DEPLOY_START
from cluster.settings import describe
from llama4coder.errors import ConfigError, Unavailable

POLL_S = 0.2
_READY_TIMEOUT_S = 60.0  # from a running application to its first token
_FAILED = {"DEPLOY_FAILED", "UNHEALTHY"}


def deploy(content: Mapping[str, Any]) -> str:
    """Start Serve and submit a config file, as `serve deploy` would; returns the application's name."""
    try:
        schema = ServeDeploySchema.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"the Serve config file is wrong: {describe(error)}") from None
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    client = DEPLOY_START.find()(  # as `serve run FILE` does
        http_options=schema.http_options.model_dump(),
        grpc_options=gRPCOptions(**schema.grpc_options.model_dump()),
        global_logging_config=schema.logging_config,
        controller_options=schema.controller_options,
        proxy_location=schema.proxy_location,
    )
    client.deploy_apps(schema)
    return schema.applications[0].name


def is_running(application: str, tell: Callable[[str], None]) -> bool:
    """Whether every deployment runs, telling which do not; raises `ConfigError` with the cause if one cannot."""
    overview = serve.status().applications.get(application)
    if overview is None:
        return False
    if overview.status in _FAILED:
        reasons = [overview.message, *(one.message for one in overview.deployments.values())]
        raise ConfigError(error_line("\n".join(reasons)))
    if overview.status != "RUNNING":
        waiting = {name: one.message for name, one in overview.deployments.items() if one.status != "HEALTHY"}
        tell(f"waiting for {', '.join(sorted(waiting)) or 'the application to be built'}")
        for message in filter(None, waiting.values()):  # Serve's own, such as which resources a replica waits for
            tell(f"  {' '.join(message.split())}")
    return overview.status == "RUNNING"


def wait_until_ready(host: str, port: int, *, has_tls: bool = False) -> None:
    """Wait for the first real token on the real port; raises `Unavailable` if none comes."""
    deadline_s = time.monotonic() + _READY_TIMEOUT_S
    while True:
        status = _get_status(_connection(host, port, has_tls=has_tls), "/ready")
        if status == http.HTTPStatus.OK:
            return
        if time.monotonic() > deadline_s:
            raise Unavailable(f"the endpoint did not become ready (/ready answers {status or 'nothing'})")
        time.sleep(POLL_S)


def _connection(host: str, port: int, *, has_tls: bool) -> http.client.HTTPConnection:
    """To what this process itself has started, whichever name its certificate is for."""
    if not has_tls:
        return http.client.HTTPConnection(host, port, timeout=_READY_TIMEOUT_S)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=_READY_TIMEOUT_S, context=context)


def _get_status(connection: http.client.HTTPConnection, path: str) -> int | None:
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()
