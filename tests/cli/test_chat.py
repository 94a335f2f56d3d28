"""The chat command: turns, commands, pipes, Ctrl-C and errors."""

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from llama4coder.cli import chat
from llama4coder.cli.client import ChatOptions, EndpointClient
from tests.cli.scripted_endpoint import Endpoint, Reply, answer, event, json_reply

STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PROGRAM = "import typer; from llama4coder.cli import chat; app = typer.Typer(); chat.register(app); app()"


def pipe(endpoint: Endpoint, text: str, *options: str) -> "typer.testing.Result":
    app = typer.Typer()
    chat.register(app)
    return CliRunner().invoke(app, ["--url", endpoint.url, *options], input=text)


def converse(endpoint: Endpoint, *lines: str, system: str | None = None) -> str:
    """The screen after typing lines; the input ends after them."""
    typed = iter(lines)

    def read_line(console: Console) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    console = Console(file=io.StringIO(), width=80, record=True)
    with EndpointClient(endpoint.url) as client:
        chat.ChatSession(client, ChatOptions("first"), system).converse(console, read_line)
    return console.export_text()


def asked_turns(endpoint: Endpoint) -> list[list[tuple[str, str]]]:
    bodies = [body["messages"] for body in endpoint.asked]
    return [[(turn["role"], turn["content"]) for turn in turns] for turns in bodies if isinstance(turns, list)]


def test_pipe_prints_the_plain_answer(endpoint: Endpoint) -> None:
    endpoint.replies = [answer("**bold** ", "text")]
    result = pipe(endpoint, "hello\n")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "**bold** text\n", "")
    assert endpoint.asked[0]["model"] == "first"
    assert asked_turns(endpoint) == [[("user", "hello")]]


def test_pipe_passes_every_option_on(endpoint: Endpoint) -> None:
    endpoint.replies = [answer("ends with a line\n")]
    options = ("--model", "m", "--system", "Be brief.", "--temperature", "0", "--max-tokens", "7", "--seed", "3")
    assert pipe(endpoint, "hello", *options).stdout == "ends with a line\n"
    assert endpoint.asked == [
        {
            "model": "m",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}],
            "stream": True,
            "temperature": 0.0,
            "max_tokens": 7,
            "seed": 3,
        }
    ]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (json_reply({"error": {"message": "prompt too long"}}, 400), "llama4coder: prompt too long (HTTP 400)\n"),
        (Reply((event("half"), b'data: {"error": {"message": "died"}}\n\n')), "llama4coder: died\n"),
    ],
)
def test_pipe_ends_with_one_line_on_errors(endpoint: Endpoint, reply: Reply, message: str) -> None:
    endpoint.replies = [reply]
    result = pipe(endpoint, "hello")
    assert (result.exit_code, result.stderr) == (1, message)


def test_empty_pipe_is_an_error(endpoint: Endpoint) -> None:
    result = pipe(endpoint, " \n")
    assert result.exit_code == 1
    assert "standard input is empty" in result.stderr
    assert endpoint.asked == []


def test_nobody_listens() -> None:
    app = typer.Typer()
    chat.register(app)
    result = CliRunner().invoke(app, ["--url", "http://127.0.0.1:9/v1"], input="hello")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "cannot reach http://127.0.0.1:9/v1" in result.stderr


def test_turns_are_remembered_until_reset(endpoint: Endpoint) -> None:
    endpoint.replies = [answer("one"), answer("two"), answer("three")]
    screen = converse(endpoint, "a", " b ", "", "/reset", "c", "/exit", "never asked", system="s")
    assert asked_turns(endpoint) == [
        [("system", "s"), ("user", "a")],
        [("system", "s"), ("user", "a"), ("assistant", "one"), ("user", "b")],
        [("system", "s"), ("user", "c")],
    ]
    assert screen.index("one") < screen.index("two") < screen.index("forgotten") < screen.index("three")


def test_cut_off_answer_is_said(endpoint: Endpoint) -> None:
    endpoint.replies = [answer("text", finish_reason="length")]
    assert "cut off" in converse(endpoint, "a")


def test_an_error_ends_the_turn_not_the_chat(endpoint: Endpoint) -> None:
    endpoint.replies = [json_reply({"error": {"message": "busy [red]"}}, 429), answer("fine")]
    screen = converse(endpoint, "a", "b")
    assert "busy [red] (HTTP 429)" in screen
    assert asked_turns(endpoint)[1] == [("user", "b")]


def test_ctrl_c_at_the_prompt_leaves(endpoint: Endpoint) -> None:
    def interrupted(console: Console) -> str:
        raise KeyboardInterrupt

    with EndpointClient(endpoint.url) as client:
        chat.ChatSession(client, ChatOptions("first"), None).converse(Console(file=io.StringIO()), interrupted)


def test_ctrl_c_stops_the_answer_and_again_leaves(endpoint: Endpoint) -> None:
    endpoint.replies = [Reply((event("half an answer"),), hang=True)]
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "--url", endpoint.url],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    os.close(inside)
    try:
        read_until(terminal, lambda screen: "/exit" in screen and screen.endswith("> "))
        os.write(terminal, b"hello\n")
        read_until(terminal, lambda screen: "half an answer" in screen)
        press_until_seen(terminal, lambda screen: "stopped" in screen and "> " in screen.partition("stopped")[2])
        assert endpoint.client_left.wait(5)
        assert press_until_it_leaves(terminal, process) == 0
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def take_terminal() -> None:
    """For the child: the terminal on its input is its own, and Ctrl-C counts even if the tests ignore it."""
    os.close(os.open(os.ttyname(0), os.O_RDWR))
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def press_until_seen(terminal: int, done: Callable[[str], bool]) -> None:
    """Python overlooks a signal in the instant before it blocks on its input; a user would press Ctrl-C again, too."""
    screen = ""
    for _ in range(10):
        os.write(terminal, b"\x03")
        while not done(screen) and select.select([terminal], [], [], 5.0)[0]:
            screen = STYLE.sub("", screen + os.read(terminal, 4096).decode(errors="replace"))
        if done(screen):
            return
    raise AssertionError(f"not seen; the screen was {screen!r}")


def press_until_it_leaves(terminal: int, process: subprocess.Popen[bytes]) -> int:
    """Again and again, as above."""
    for _ in range(10):
        os.write(terminal, b"\x03")
        try:
            return process.wait(2)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("it did not leave")


def read_until(terminal: int, done: Callable[[str], bool], timeout_s: float = 20.0) -> None:
    screen = ""
    deadline_s = time.monotonic() + timeout_s
    while not done(screen):
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline_s - time.monotonic()))
        assert ready, f"not seen within {timeout_s} s; the screen was {screen!r}"
        screen = STYLE.sub("", screen + os.read(terminal, 4096).decode(errors="replace"))
