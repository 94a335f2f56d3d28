"""Who needs a key follows from where the endpoint listens."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster import app
from cluster.exposure import check_exposure, check_keys, check_ray, is_loopback
from llama4coder.config import ServerConfig
from llama4coder.errors import ConfigError
from tests.keys.made import LONG_AGO, made, write_keys


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_keys(host: str) -> None:
    assert is_loopback(host)
    check_exposure(host, ServerConfig())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", "", "128.0.0.1"])
def test_every_other_address_does(host: str) -> None:
    with pytest.raises(ConfigError, match=r"llama4coder keys add NAME --file .*--keys-file"):
        check_exposure(host, ServerConfig())
    check_exposure(host, ServerConfig(keys_file="/etc/keys.json"))


def test_a_file_that_lets_nobody_in_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    server = ServerConfig(keys_file=str(file))
    with pytest.raises(ConfigError, match="cannot be read"):
        check_keys(server)
    for keys in ([], [made("a", revoked=LONG_AGO), made("b", expires=datetime.now(UTC))]):
        write_keys(file, *keys)
        with pytest.raises(ConfigError, match=f"keys add NAME --file {file}"):
            check_keys(server)
    write_keys(file, made("a"))
    check_keys(server)
    check_keys(ServerConfig())


@pytest.mark.parametrize("path", ["keys.json", "~/keys.json", ""])
def test_the_path_is_absolute_as_ray_runs_elsewhere(path: str) -> None:
    with pytest.raises(ValueError, match="keys_file"):
        ServerConfig(keys_file=path)


def test_an_application_for_a_serve_that_listens_everywhere_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    client = SimpleNamespace(http_config=SimpleNamespace(host="0.0.0.0"))
    monkeypatch.setattr("cluster.app.ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.serve.context._get_global_client", lambda **_: client)
    with pytest.raises(ConfigError, match="needs API keys"):
        app.build_app({})
    tokens = "ray._private.authentication.authentication_utils.is_token_auth_enabled"
    monkeypatch.setattr(tokens, lambda: False)
    with pytest.raises(ConfigError, match="RAY_AUTH_MODE=token"):
        app.build_app({"server": {"keys_file": "/etc/keys.json"}})


def test_ray_may_be_open_where_nobody_else_reaches_the_endpoint() -> None:
    check_ray("127.0.0.1", is_locked=False)
    check_ray("0.0.0.0", is_locked=True)
