"""`llama4coder serve`: from a file to a printed URL, and back to nothing."""

import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.banner import banner, base_url
from cluster.env import confine_ray, put_haproxy_in_front
from cluster.exposure import check_exposure, check_keys
from cluster.haproxy import LOOPBACK, HAProxyUnusable, held_loopback_port, write_launcher
from cluster.phases import Phases
from cluster.placement import total_cpus
from cluster.private_ray import private_folder, private_ray
from cluster.serve_file import ServeFile
from cluster.signals import Stopped, raise_on_signals, signals_held
from cluster.tls import without_tls
from llama4coder.cli.progress import RichProgress
from llama4coder.errors import ConfigError
from llama4coder.machine import detect_machine
from llama4coder.resolve_folder import resolve_on
from llama4coder.resolved import ResolvedConfig


def serve_locally(file: ServeFile, console: Console) -> int:
    """Serve until a signal comes; returns the exit status. Raises `ConfigError` for what the operator must change."""
    raise_on_signals()
    phases = Phases(console)
    started_s = time.monotonic()
    try:
        check_exposure(file.host, file.config.server)
        check_keys(file.config.server)
        if file.tls is not None:
            file.tls.check()
        check_port(file.host, file.port)
        with phases.phase("preparing the model"):
            machine = detect_machine(file.config.engine.device, lends_gpus=True)
            config = resolve_on(machine, file.config, RichProgress())
        console.print(f"  {config.model_dump_json()}", style="dim", highlight=False, markup=False, soft_wrap=True)
        with _private_serve(file, config, console, phases) as content:
            _bring_up(content, file, console, phases)
            url = base_url(file.host, file.port, has_tls=file.tls is not None)
            console.print(banner(url, config), highlight=False, soft_wrap=True)
            console.print(f"  ready after {time.monotonic() - started_s:.1f} s", style="dim", highlight=False)
            return _wait_for_signal()
    except Stopped as stopped:
        return stopped.exit_status


def check_port(host: str, port: int) -> None:
    """Raise `ConfigError` unless the address can be bound now."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind(address)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"cannot listen on {host}:{port}: {reason}; stop what uses it, or choose another with --port"
        ) from None


@contextmanager
def _private_serve(
    file: ServeFile, config: ResolvedConfig, console: Console, phases: Phases
) -> Iterator[Mapping[str, Any]]:
    """A Ray while it is needed; gives what is to be deployed on it."""
    with private_folder() as folder, held_loopback_port() as spare_port:
        confine_ray(folder)
        content = _choose_proxy(folder, spare_port, file, console)
        with private_ray(folder, max(os.cpu_count() or 1, total_cpus(config)), phases):
            yield content


def _choose_proxy(folder: Path, spare_port: int, file: ServeFile, console: Console) -> Mapping[str, Any]:
    """HAProxy, if it can be: then it alone listens where the operator wants, and Serve itself on loopback."""
    try:
        launcher = write_launcher(folder, file)
    except HAProxyUnusable as error:
        console.print(f"  Ray Serve's own proxy instead of HAProxy, slower: {error}", style="dim", highlight=False)
        return file.content
    put_haproxy_in_front(folder, launcher, spare_port, file.config.server.client_timeout_s)
    options = without_tls(file.content["http_options"])
    return {**file.content, "http_options": {**options, "host": LOOPBACK}}


def _bring_up(content: Mapping[str, Any], file: ServeFile, console: Console, phases: Phases) -> None:
    with signals_held():
        from cluster.loading import LoadingBar, ask_ranks
        from cluster.startup import POLL_S, deploy, is_running, wait_until_ready

    bar = LoadingBar(RichProgress(console))

    def look() -> bool:
        with signals_held():
            running, ranks = is_running(application, phases.tell), ask_ranks()
        bar.show(ranks)
        return running

    with phases.phase("starting Ray Serve"), signals_held():
        application = deploy(content)
    with phases.phase("starting the application"):
        try:
            while not look():
                time.sleep(POLL_S)
        finally:
            bar.finish()
    with phases.phase("waiting for the first token"):
        wait_until_ready(file.host, file.port, has_tls=file.tls is not None)


def _wait_for_signal() -> int:
    try:
        while True:
            signal.pause()
    except Stopped:
        return 0
