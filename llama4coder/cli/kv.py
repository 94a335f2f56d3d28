"""`llama4coder kv`: where the KV blocks of a running endpoint are, once or again and again."""

import time
from collections.abc import Callable, Iterator
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.live import Live

from llama4coder.cli.client import DEFAULT_URL, EndpointClient, EndpointError
from llama4coder.cli.console import output_console
from llama4coder.cli.kv_report import KVReport, read_report
from llama4coder.cli.kv_view import view
from llama4coder.env import api_key


def register(app: typer.Typer) -> None:
    """Add the `kv` command."""
    app.command()(kv)


def kv(
    url: Annotated[str, typer.Option(help="Base URL of the endpoint.")] = DEFAULT_URL,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, with rates; Ctrl-C leaves.")] = False,
    interval_s: Annotated[float, typer.Option(min=0.1, help="Between two looks.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts; with --watch one line per look.")] = False,
) -> None:
    """Show KV blocks by state and replica, hit rate, queue, preemptions and refusals."""
    try:
        with EndpointClient(url, api_key()) as client:
            reports = _watched(client, interval_s, time.sleep, time.monotonic) if watch else iter((_look(client),))
            if as_json:
                for report in reports:
                    typer.echo(msgspec.json.encode(report).decode())
            else:
                _show(reports, output_console(), watched=watch)
    except EndpointError as error:
        typer.echo(f"llama4coder: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        pass  # the way to leave


def _show(reports: Iterator[KVReport], console: Console, *, watched: bool) -> None:
    if not watched:
        console.print(*(view(report, watched=False) for report in reports))
        return
    with Live(console=console, auto_refresh=False) as live:
        for report in reports:
            live.update(view(report, watched=True), refresh=True)


def _look(client: EndpointClient) -> KVReport:
    text = client.metrics()
    try:
        return read_report(text)
    except ValueError:
        raise EndpointError(
            f"{client.metrics_url} has no metrics of llama4coder; name its endpoint with --url"
        ) from None


def _watched(
    client: EndpointClient, interval_s: float, sleep: Callable[[float], None], clock: Callable[[], float]
) -> Iterator[KVReport]:
    """Reports without end, each beside the one before."""
    report, seen_s = _look(client), clock()
    yield report
    while True:
        sleep(interval_s)
        latest, now_s = _look(client), clock()
        yield latest.since(report, now_s - seen_s)
        report, seen_s = latest, now_s
