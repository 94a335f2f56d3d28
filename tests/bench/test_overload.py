"""What the overload run makes of answers, of memory and of time; the run itself needs a server and minutes."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import tokenizers

from tests.bench.overload_client import Address, Ending, Reply, try_once
from tests.bench.overload_deck import Ask, Corpus, LeaveAfter, LeaveMidStream, deal
from tests.bench.overload_drive import Drive, Limits, Record
from tests.bench.overload_metrics import parse
from tests.bench.overload_outcome import Kind, Outcome, classify
from tests.bench.overload_processes import Growth, MemorySample, ProcessTable, Window, growth
from tests.bench.overload_report import (
    CpuCores,
    Evidence,
    IdleState,
    LevelFigures,
    level_figures,
    verdicts,
    violations,
)

STREAM = Ask("/v1/completions", b"{}", 10, 3, streams=True)
WHOLE = replace(STREAM, streams=False)
END = b'data: {"choices":[{"finish_reason":"length"}]}\n\ndata: {"usage":{"completion_tokens":3}}\n\n'
TEXT = b'data: {"choices":[{"text":"\\"finish_reason\\":\\"stop\\"","finish_reason":null}]}\n\n'
DONE = b"data: [DONE]\n\n"
WHOLE_BODY = b'{"choices":[{"finish_reason":"length"}],"usage":{"completion_tokens":3}}'


def http(body: bytes, status: int = 200, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Some", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(*parts: bytes) -> bytes:
    """As the server sends streams, and cut where a proxy might."""
    chunks = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def error(code: str) -> bytes:
    return json.dumps({"error": {"message": "because", "type": "t", "param": None, "code": code}}).encode()


def outcome(ask: Ask, received: bytes, ending: Ending = Ending.SERVER) -> Outcome:
    return classify(ask, Reply(received, ending, 0.0, 1.0))


def test_complete_answers() -> None:
    assert outcome(WHOLE, http(WHOLE_BODY)) == Outcome(Kind.COMPLETE, "whole", 3)
    assert outcome(STREAM, http(TEXT + END + DONE)) == Outcome(Kind.COMPLETE, "stream", 3)
    stream = b": keep-alive\n\n" + TEXT + END + DONE
    for cut in range(1, len(stream)):
        assert outcome(STREAM, chunked(stream[:cut], stream[cut:])).kind is Kind.COMPLETE


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (http(error("overloaded"), 429, "Retry-After: 7"), Outcome(Kind.REFUSED, "429 overloaded", 0, 7.0)),
        (http(error("unavailable"), 503, "retry-after: 5"), Outcome(Kind.REFUSED, "503 unavailable", 0, 5.0)),
        (http(error("context_length_exceeded"), 400), Outcome(Kind.REFUSED, "400 context_length_exceeded")),
    ],
)
def test_refusals_have_a_reason(received: bytes, expected: Outcome) -> None:
    assert outcome(STREAM, received) == outcome(WHOLE, received) == expected


def test_refusal_in_a_stream_that_had_to_begin() -> None:
    refused = chunked(b": keep-alive\n\n", b"data: " + error("overloaded") + b"\n\n" + DONE)
    assert (outcome(STREAM, refused).kind, outcome(STREAM, refused).reason) == (
        Kind.REFUSED,
        "in the stream: overloaded",
    )
    assert outcome(STREAM, refused).retry_after_s is not None


@pytest.mark.parametrize(
    ("ask", "received", "reason"),
    [
        (WHOLE, b"", "closed without an answer"),
        (WHOLE, b"nonsense", "broken response: BadStatusLine"),
        (WHOLE, http(WHOLE_BODY)[:-1], "broken response: IncompleteRead"),
        (WHOLE, http(b"<html>", 503), "HTTP 503 without a reason"),
        (WHOLE, http(error(""), 200), "no finish reason"),
        (WHOLE, http(error("internal_error"), 500), "HTTP 500 internal_error"),
        (WHOLE, http(b'{"error": "plain"}', 429, "Retry-After: 1"), "HTTP 429 without a reason"),
        (WHOLE, http(error("overloaded"), 429), "HTTP 429 overloaded without Retry-After"),
        (WHOLE, http(error("overloaded"), 429, "Retry-After: soon"), "HTTP 429 overloaded without Retry-After"),
        (WHOLE, http(b'{"choices":[{"finish_reason":"stop"}]}'), "no usage"),
        (WHOLE, http(WHOLE_BODY.replace(b"3", b"2")), "another number of tokens"),
        (STREAM, http(TEXT + END), "no [DONE]"),
        (STREAM, http(TEXT + DONE), "no finish reason"),
        (STREAM, http(TEXT + b"data: " + error("unavailable") + b"\n\n" + DONE), "broken off: unavailable"),
        (STREAM, http(b"data: " + error("internal_error") + b"\n\n" + DONE), "broken off: internal_error"),
        (STREAM, chunked(TEXT, END + DONE)[:-30], "broken response: IncompleteRead"),
    ],
)
def test_violations(ask: Ask, received: bytes, reason: str) -> None:
    assert outcome(ask, received) == Outcome(Kind.VIOLATION, reason)


@pytest.mark.parametrize(
    ("ending", "kind"),
    [(Ending.US, Kind.LEFT), (Ending.TIMEOUT, Kind.VIOLATION), (Ending.NO_CONNECTION, Kind.VIOLATION)],
)
def test_endings_that_are_not_the_servers(ending: Ending, kind: Kind) -> None:
    assert outcome(STREAM, http(TEXT + END + DONE), ending).kind is kind


def record(
    kind: Kind = Kind.COMPLETE, tokens: int = 100, sent_s: float = 0, first_s: float = 1, end_s: float = 10
) -> Record:
    return Record(Outcome(kind, "reason", tokens), 1, 2 * tokens, sent_s, end_s, first_s)


def figures(records: list[Record], window: Window) -> LevelFigures:
    return level_figures(1, records, window, CpuCores(1.0, 0.0))


def test_answers_count_by_their_share_of_the_window() -> None:
    found = figures(
        [record(), record(sent_s=-30, end_s=10), record(Kind.LEFT), record(sent_s=20, end_s=30)], Window(0, 10)
    )
    assert found.output_tokens_per_s == pytest.approx((100 + 25) / 10)
    assert found.prompt_tokens_per_s == pytest.approx((200 + 50) / 10)
    windows = [Window(start, start + 10) for start in range(-30, 30, 10)]
    total = sum(figures([record(sent_s=-17, end_s=23)], window).output_tokens_per_s * 10 for window in windows)
    assert total == pytest.approx(100)


def test_late_first_tokens_are_not_in_time() -> None:
    found = figures([record(end_s=40), record(first_s=31, end_s=40)], Window(0, 40))
    assert found.output_tokens_per_s == 2 * found.in_time_tokens_per_s == pytest.approx(5)


def test_requests_count_where_they_end() -> None:
    records = [record(end_s=9), record(end_s=9), record(end_s=10), record(Kind.REFUSED, end_s=1), record(end_s=-1)]
    found = figures(records, Window(0, 10))
    assert found.num_ended == {Kind.COMPLETE: 2, Kind.REFUSED: 1}
    assert (found.wait_p50_s, found.wait_p99_s) == (1, 1)


def test_growth_is_that_of_medians() -> None:
    samples = [
        MemorySample(at, resident, resident // 2) for at, resident in [(0, 100), (1, 102), (2, 900), (8, 110), (9, 108)]
    ]
    found = growth("Ingress", samples, Window(0, 2), Window(8, 9))
    assert found == Growth("Ingress", 102, 109, 3.5)
    assert found is not None and found.ratio == pytest.approx(0.0686, abs=1e-3)
    assert growth("Ingress", samples, Window(0, 2), Window(20, 30)) is None


def test_processes_have_roles_and_samples_until_they_die() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '60'])"])
    try:
        table = ProcessTable(child.pid)
        deadline_s = time.monotonic() + 20
        while "sleep" not in table.roles.values():
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
            table.roles.clear()  # between its birth and its own program it is called as its parent is
            table.sample()
        (process,) = table.roles
        assert table.dead() == []
        assert table.samples[process][-1].resident_bytes > 0
        assert table.cpu_s() >= 0.0
        os.kill(process.pid, signal.SIGKILL)
        child.wait()
        assert table.dead() == ["sleep"]
        assert table.cpu_s() == 0.0
    finally:
        child.kill()
        child.wait()


LEVEL = figures([record()], Window(0, 10))
GOOD = Evidence([LEVEL], LEVEL, {}, [], [Growth("Rank", 100.0, 101.0, 1.0)], IdleState(0, 0, 0))


def unmet(evidence: Evidence) -> list[str]:
    return [verdict.found for verdict in verdicts(evidence) if not verdict.met]


def test_verdicts() -> None:
    assert unmet(GOOD) == []
    assert unmet(replace(GOOD, dead=["Rank"])) == ["Rank"]
    assert unmet(replace(GOOD, violations={"HTTP 500 internal_error": 2})) == ["2 x HTTP 500 internal_error"]
    assert unmet(replace(GOOD, violations={"no [DONE]": 1})) == ["1 x no [DONE]"]
    assert unmet(replace(GOOD, growths=[Growth("Rank", 100.0, 102.0, 2.0)])) == ["Rank +2.0 %"]
    assert len(unmet(replace(GOOD, idle=IdleState(1, 0, 0)))) == 1
    slow = replace(LEVEL, output_tokens_per_s=0.84 * LEVEL.output_tokens_per_s)
    assert unmet(replace(GOOD, overload=slow)) == ["84.0% of 10.0 tokens/s with 1 clients"]
    nothing = replace(LEVEL, output_tokens_per_s=0.0)
    assert unmet(replace(GOOD, lower=[nothing], overload=nothing)) != []


def test_violations_are_counted_by_reason() -> None:
    assert violations([record(), record(Kind.VIOLATION), record(Kind.VIOLATION)]) == {"reason": 2}


def test_metrics_are_summed_over_replicas() -> None:
    page = '# TYPE llama4coder_kv_blocks gauge\nllama4coder_kv_blocks{{replica="a",state="used"}} {}\n'
    page += 'llama4coder_kv_blocks{{replica="b",state="used"}} 3\n'
    found = parse(page.format(2))
    assert found["kv_blocks"] == found['kv_blocks{state="used"}'] == 5
    assert found["nothing"] == 0
    assert parse(page.format(4)).since(found, ("kv_blocks",))['kv_blocks{replica="a"}'] == 2


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"w": 0}, unk_token="w"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return Corpus(" ".join(f"w{number}" for number in range(20_000)), tokenizer)


def test_every_stretch_is_the_same_mix(corpus: Corpus) -> None:
    asks = list(itertools.islice(deal(corpus, "m", 7000, 0), 640))
    work = [sum(ask.num_prompt_tokens for ask in asks[at : at + 32]) for at in range(0, 608, 7)]
    assert max(work) < 2 * min(work), "drawn at random it is nearly three times"
    assert 10 <= min(ask.num_prompt_tokens for ask in asks) < 15
    assert 6000 < max(ask.num_prompt_tokens for ask in asks) <= 7000
    assert {ask.max_tokens for ask in asks} <= set(range(1, 201))
    assert {(ask.path, ask.streams) for ask in asks} == set(
        itertools.product(("/v1/chat/completions", "/v1/completions"), (True, False))
    )
    assert 0.08 < sum(ask.departure is not None for ask in asks) / len(asks) < 0.12
    assert {type(ask.departure) for ask in asks} == {LeaveAfter, LeaveMidStream, type(None)}
    assert len({ask.body for ask in asks}) == len(asks)


def test_prompts_are_as_long_as_they_say_and_some_share_their_beginning(corpus: Corpus) -> None:
    asks = [ask for ask in itertools.islice(deal(corpus, "m", 7000, 0), 320) if ask.path == "/v1/completions"]
    prompts = [json.loads(ask.body)["prompt"] for ask in asks if ask.num_prompt_tokens > 100]
    lengths = [ask.num_prompt_tokens for ask in asks if ask.num_prompt_tokens > 100]
    assert all(abs(len(prompt.split()) - length) <= 1 for prompt, length in zip(prompts, lengths, strict=True))
    beginnings = [" ".join(prompt.split()[:40]) for prompt in prompts]
    assert 0.2 < 1 - len(set(beginnings)) / len(beginnings) < 0.5


@asynccontextmanager
async def script(*answers: bytes) -> AsyncIterator[Address]:
    """A server that gives these answers in turn, the last one again and again."""
    left = list(answers)
    ended = asyncio.Event()
    ended.set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.clear()
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        if left[0].endswith(b"hang"):
            await reader.read()  # until the client has left
        writer.close()
        ended.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await asyncio.wait_for(ended.wait(), 5)
        await asyncio.sleep(0)  # so that the transport goes, too


async def test_client_reads_to_the_end() -> None:
    async with script(http(TEXT + END + DONE)) as address:
        reply = await try_once(address, STREAM, 10.0)
    assert classify(STREAM, reply).kind is Kind.COMPLETE
    assert reply.first_event_s is not None and reply.sent_s <= reply.first_event_s <= reply.ended_s


@pytest.mark.parametrize(
    ("departure", "ending"), [(LeaveAfter(0.05), Ending.US), (LeaveMidStream(1), Ending.US), (None, Ending.TIMEOUT)]
)
async def test_client_leaves(departure: LeaveAfter | LeaveMidStream | None, ending: Ending) -> None:
    async with script(chunked(TEXT)[:-5] + b"hang") as address:
        assert (await try_once(address, replace(STREAM, departure=departure), 0.3)).ending is ending


async def test_nobody_listens() -> None:
    async with script(b"") as address:
        pass
    reply = await try_once(address, STREAM, 1.0)
    assert classify(STREAM, reply).reason == "no connection"


async def drive(tries: int, *answers: bytes) -> Drive:
    """One client, until its first request has an end."""
    async with script(*answers) as address:
        driven = Drive(address, itertools.repeat(STREAM), Limits(5.0, tries, 0.01))
        driven.grow(1)
        async with asyncio.timeout(10):
            while not driven.records:
                await asyncio.sleep(0.01)
            await driven.stop()
    driven.check()
    return driven


REFUSAL = http(error("overloaded"), 429, "Retry-After: 100")


async def test_refused_request_is_asked_again() -> None:
    driven = await drive(3, REFUSAL, REFUSAL, http(TEXT + END + DONE))
    assert (driven.records[0].outcome.kind, driven.records[0].num_tries) == (Kind.COMPLETE, 3)
    assert driven.refusals == {"429 overloaded": 2}


async def test_client_gives_up_in_the_end() -> None:
    driven = await drive(3, REFUSAL)
    assert (driven.records[0].outcome.kind, driven.records[0].num_tries) == (Kind.REFUSED, 3)


async def test_what_cannot_be_served_is_not_asked_again() -> None:
    driven = await drive(3, http(error("context_length_exceeded"), 400))
    assert driven.records[0].num_tries == 1
