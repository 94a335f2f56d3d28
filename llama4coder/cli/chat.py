"""`llama4coder chat`: a streaming chat with an OpenAI-style endpoint, in the terminal or in a pipe."""

import sys
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Annotated

import typer
from rich.console import Console

from llama4coder.cli.answer_view import AnswerView
from llama4coder.cli.client import DEFAULT_URL, ChatOptions, EndpointClient, EndpointError, Message
from llama4coder.env import api_key

INTERRUPTED_EXIT_CODE = 130  # what shells expect after Ctrl-C


def register(app: typer.Typer) -> None:
    """Add the `chat` command."""
    app.command()(chat)


def chat(
    url: Annotated[str, typer.Option(help="Base URL of the endpoint.")] = DEFAULT_URL,
    model: Annotated[str | None, typer.Option(help="Model to ask; the first one served by default.")] = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="0 always takes the likeliest token.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
) -> None:
    """Chat with a model; with something on standard input, answer that and leave."""
    try:
        with EndpointClient(url, api_key()) as client:
            options = ChatOptions(model or client.first_model(), temperature, max_tokens, seed)
            session = ChatSession(client, options, system)
            if sys.stdin.isatty():
                session.converse(Console(), _read_line)
            else:
                session.answer_once(sys.stdin.read().rstrip("\n"))  # which the shell adds, and which sways small models
    except EndpointError as error:
        typer.echo(f"llama4coder: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from None


class ChatSession:
    """One conversation: the turns so far, and whom to ask for the next."""

    def __init__(self, client: EndpointClient, options: ChatOptions, system: str | None) -> None:
        self._client = client
        self._options = options
        self._beginning = (Message("system", system),) if system else ()
        self._messages = list(self._beginning)

    def answer_once(self, prompt: str) -> None:
        """Write the plain answer to standard output as it arrives, without any reasoning."""
        if not prompt.strip():
            raise EndpointError("standard input is empty; there is nothing to answer")
        last = "\n"
        with closing(self._client.answer([*self._messages, Message("user", prompt)], self._options)) as parts:
            for part in parts:
                typer.echo(part.text, nl=False)
                last = part.text or last
        if not last.endswith("\n"):
            typer.echo()

    def converse(self, console: Console, read_line: Callable[[Console], str]) -> None:
        """Ask and answer until the user leaves: /exit, end of input, or Ctrl-C where no answer is running."""
        console.print(f"{self._options.model} at {self._client.url}", style="bold", markup=False, highlight=False)
        _note(console, "/reset forgets the conversation, /exit leaves, Ctrl-C stops an answer")
        with suppress(EOFError, KeyboardInterrupt):
            while (line := read_line(console).strip()) != "/exit":
                if line == "/reset":
                    self._messages = list(self._beginning)
                    _note(console, "forgotten")
                elif line:
                    self._take_turn(console, line)

    def _take_turn(self, console: Console, line: str) -> None:
        """Ask for one answer; what arrived of it is remembered, and a turn without any is not."""
        question = Message("user", line)
        answer = ""
        finish_reason = None
        try:
            with closing(self._client.answer([*self._messages, question], self._options)) as parts:
                with AnswerView(console) as view:
                    for part in parts:
                        answer += part.text
                        view.think(part.reasoning)
                        view.add(part.text)
                        finish_reason = part.finish_reason
            if finish_reason == "length":
                _note(console, "(cut off: no tokens left)")
        except KeyboardInterrupt:
            _note(console, "(stopped; Ctrl-C again leaves)")
        except EndpointError as error:
            console.print(f"error: {error}\n", style="red", markup=False, highlight=False)
        if answer:
            self._messages += [question, Message("assistant", answer)]


def _read_line(console: Console) -> str:
    return console.input("[bold green]>[/] ")


def _note(console: Console, text: str) -> None:
    console.print(f"{text}\n", style="dim", markup=False, highlight=False)
