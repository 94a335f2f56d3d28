"""`llama4coder top`: what a running endpoint is doing, live in a terminal."""

import time
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.live import Live

from llama4coder.cli.client import DEFAULT_URL, EndpointClient, EndpointError
from llama4coder.cli.top_sections import Report, report_of
from llama4coder.cli.top_view import Screen
from llama4coder.cli.top_window import History, Page
from llama4coder.env import api_key


def register(app: typer.Typer) -> None:
    """Add the `top` command."""
    app.command()(top)


def top(
    url: Annotated[
        str, typer.Option(help="Base URL of the endpoint; LLAMA4CODER_API_KEY holds its key.")
    ] = DEFAULT_URL,
    once: Annotated[
        bool, typer.Option("--once", help="One screen, of two looks; so it is without a terminal.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts: one screen as JSON.")] = False,
    interval_s: Annotated[float, typer.Option(min=0.1, help="Between two looks.")] = 1.0,
    window_s: Annotated[float, typer.Option(min=0.1, help="Rates and quantiles are of so many seconds.")] = 10.0,
) -> None:
    """Show requests, latency, tokens, queue, KV blocks, drafts and routing of an endpoint; Ctrl-C leaves."""
    console = Console()
    try:
        with EndpointClient(url, api_key()) as client:
            watch = Watch(client, interval_s, window_s)
            if as_json:
                typer.echo(msgspec.json.encode(watch.once()).decode())
            elif once or not console.is_terminal:
                report = watch.once()
                console.print(Screen(watch.heading(), report, None))
            else:
                _show(watch, console)
    except EndpointError as error:
        typer.echo(f"llama4coder: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        pass  # the way to leave


def _show(watch: "Watch", console: Console) -> None:
    with Live(console=console, screen=True, auto_refresh=False, transient=True) as live:
        for screen in watch.screens():
            live.update(screen, refresh=True)


class Watch:
    """Looks at an endpoint again and again."""

    def __init__(self, client: EndpointClient, interval_s: float, window_s: float) -> None:
        self._client = client
        self._interval_s = interval_s
        self._history = History(window_s)
        self._began_s = time.monotonic()
        self._report: Report | None = None

    def once(self) -> Report:
        """The report of two looks. Raises `EndpointError`."""
        while (report := self._look()) is None:
            time.sleep(self._interval_s)
        return report

    def screens(self) -> Iterator[Screen]:
        """Without end; while the endpoint is away they say so. Raises `EndpointError` where that will not mend."""
        while True:
            yield self._screen()
            time.sleep(self._interval_s)

    def heading(self) -> str:
        """What is looked at, and for how long already."""
        watched_s = time.monotonic() - self._began_s
        parts: list[str] = []
        if self._report is not None:
            replicas = f"{self._report.num_replicas} replica{'' if self._report.num_replicas == 1 else 's'}"
            parts = [*self._report.models, replicas, f"last {self._report.window_s:.0f} s"]
        return " · ".join([*parts, f"watched for {_duration(watched_s)}", self._client.url])

    def _screen(self) -> Screen:
        trouble: str | None = None
        try:
            self._report = self._look() or self._report
        except EndpointError as error:
            if error.is_final:
                raise
            trouble = f"{error}; trying again"
        return Screen(self.heading(), self._report, trouble)

    def _look(self) -> Report | None:
        """None if it is the first look, or the first one after a restart."""
        text = self._client.metrics()
        try:
            page = Page.read(text, time.monotonic())
        except ValueError:
            message = f"{self._client.metrics_url} has no metrics of llama4coder; name its endpoint with --url"
            raise EndpointError(message, is_final=True) from None
        window = self._history.add(page)
        if window is not None:
            self._report = report_of(window)
        return None if window is None else self._report


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
