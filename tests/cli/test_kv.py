"""The kv command over a real socket: once, watched, for scripts, and where there is nothing to see."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from llama4coder.cli import kv
from tests.cli.scripted_endpoint import Endpoint, Reply, json_reply
from tests.cli.test_kv_report import PAGE

PROGRAM = "import typer; from llama4coder.cli import kv; app = typer.Typer(); kv.register(app); app()"


def run(url: str, *options: str) -> "typer.testing.Result":
    app = typer.Typer()
    kv.register(app)
    return CliRunner(env={"COLUMNS": "120"}).invoke(app, ["--url", url, *options])


def page(text: str) -> Reply:
    return Reply((text.encode(),))


def lines(screen: str) -> list[list[str]]:
    return [line.split() for line in screen.splitlines() if line.strip()]


@pytest.mark.parametrize("ending", ["", "/"])
def test_table(endpoint: Endpoint, ending: str) -> None:
    endpoint.metrics = [page(PAGE)]
    result = run(endpoint.url + ending)
    assert (result.exit_code, result.stderr) == (0, "")
    shown = lines(result.stdout)
    assert ["KV", "blocks", "used", "free", "total", "in", "use", "promised", "host", "pinned"] in shown
    assert ["a", "1", "1", "100%", "5", "7"] in shown
    assert ["b", "30", "70", "100", "30%"] in shown
    assert ["prefix", "hit", "rate", "25.0%"] in shown
    assert ["sequences", "waiting:", "batch", "5"] in shown
    assert "per s" not in result.stdout


def test_places_are_named_by_all_their_labels(endpoint: Endpoint) -> None:
    samples = [f'llama4coder_kv_blocks{{rank="{rank}",replica="a",state="free"}} 4\n' for rank in (0, 1)]
    endpoint.metrics = [page("# TYPE llama4coder_kv_blocks gauge\n" + "".join(samples))]
    assert ["a,", "rank", "1", "4", "4", "0%"] in lines(run(endpoint.url).stdout)


def test_url_without_version(endpoint: Endpoint) -> None:
    endpoint.metrics = [page(PAGE)]
    assert run(endpoint.url.removesuffix("/v1")).exit_code == 0


def test_json(endpoint: Endpoint) -> None:
    endpoint.metrics = [page(PAGE)]
    report = json.loads(run(endpoint.url, "--json").stdout)
    assert report["places"][1] == {"labels": {"replica": "b"}, "pool": {"used": 30, "free": 70}, "beside": {}}
    assert report["hit_rate"] == 0.25
    assert {figure["name"]: figure["value"] for figure in report["figures"]}["queue_depth_requests"] == 5.0


def test_no_replica_yet(endpoint: Endpoint) -> None:
    endpoint.metrics = [page("# TYPE llama4coder_active_streams gauge\nllama4coder_active_streams 0\n")]
    result = run(endpoint.url)
    assert result.exit_code == 0
    assert "no replica has told of its blocks yet" in result.stdout


def test_watching_ends_with_the_server(endpoint: Endpoint) -> None:
    """Every look has rates but the first; the lines before an error have been written."""
    grown = PAGE.replace("_input_tokens_total 100", "_input_tokens_total 200")
    endpoint.metrics = [page(PAGE), page(grown), page(grown), Reply((b"",), 503)]
    result = run(endpoint.url, "--json", "--watch", "--interval-s", "0.1")
    assert result.exit_code == 1
    assert "answered with HTTP 503" in result.stderr
    reports = [json.loads(line) for line in result.stdout.splitlines()]
    rates = [{figure["name"]: figure["per_s"] for figure in report["figures"]} for report in reports]
    assert rates[0]["input_tokens"] is None
    assert 0 < rates[1]["input_tokens"] <= 1000  # 100 in at least the interval
    assert rates[1]["queue_depth_requests"] is None
    assert rates[2]["input_tokens"] == 0.0, "since the look before, not since the first"
    assert [report["recent_hit_rate"] for report in reports] == [None, 0.0, None]


def test_watching_shows_rates(endpoint: Endpoint) -> None:
    endpoint.metrics = [page(PAGE), page(PAGE), Reply((b"",), 503)]
    result = run(endpoint.url, "--watch", "--interval-s", "0.1")
    assert result.exit_code == 1
    assert "per s" in result.stdout
    assert ["prompt", "tokens", "admitted", "100", "0.0"] in lines(result.stdout)


def test_ctrl_c_leaves(endpoint: Endpoint) -> None:
    endpoint.metrics = [page(PAGE)]
    command = [sys.executable, "-c", PROGRAM, "--url", endpoint.url, "--watch", "--json", "--interval-s", "0.1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=heed_ctrl_c)
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith(b"{")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def heed_ctrl_c() -> None:
    """For the child, even if the tests ignore it; in a group of its own."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (page("<html>"), "has no metrics of llama4coder"),
        (page("# TYPE up gauge\nup 1\n"), "has no metrics of llama4coder"),
        (Reply((b"\xff\xfe",)), "has no metrics of llama4coder"),
        (Reply((b"",), 404), "answered with HTTP 404"),
        (json_reply({"error": {"message": "no key"}}, 401), "no key (HTTP 401)"),
    ],
)
def test_not_our_endpoint(endpoint: Endpoint, reply: Reply, message: str) -> None:
    endpoint.metrics = [reply]
    result = run(endpoint.url)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("url", ["127.0.0.1:1/v1", "ftp://127.0.0.1/v1", "http://[bad/v1", "http://127.0.0.1:99999/v1"])
def test_urls_that_are_none(url: str) -> None:
    result = run(url)
    assert result.exit_code == 1
    assert "cannot reach" in result.stderr


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        result = run(f"http://127.0.0.1:{unused.getsockname()[1]}/v1")
    assert result.exit_code == 1
    assert "is it running? Name another with --url" in result.stderr
    assert result.stderr.count("\n") == 1
