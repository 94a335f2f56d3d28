"""Streaming through the endpoint: tokens/s, time to first token and between tokens, at so many streams at once.

    .venv/bin/python -m tests.bench.endpoint --url http://127.0.0.1:8000 [--streams 1 8 32] [--tokens 128]

Any OpenAI-compatible URL will do, so that two servers can be compared. The client speaks HTTP by hand, since it shares
the processor with what it measures; it counts one token per event, as servers send them that do not coalesce.
"""

import argparse
import asyncio
import json
import statistics
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.bench.measure import describe_machine, markdown_table


@dataclass(frozen=True)
class StreamTimes:
    """When one stream's events came, in seconds since its request."""

    arrivals_s: list[float]

    @property
    def first_s(self) -> float:
        return self.arrivals_s[0]

    @property
    def gaps_s(self) -> list[float]:
        return [after - before for before, after in zip(self.arrivals_s, self.arrivals_s[1:], strict=False)]


async def stream(host: str, port: int, model: str, index: int, num_tokens: int) -> StreamTimes:
    """One completion of exactly so many tokens; raises if the server does not answer 200."""
    body = json.dumps(
        {"model": model, "prompt": f"# file {index}\n", "max_tokens": num_tokens, "ignore_eos": True, "stream": True}
    ).encode()
    reader, writer = await asyncio.open_connection(host, port)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    started_s = time.perf_counter()
    writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
    status = await reader.readline()
    if b" 200 " not in status:
        raise SystemExit(f"the server answered {status.decode().strip()}")
    arrivals_s = []
    while line := await reader.readline():
        if line.startswith(b"data: {"):
            arrivals_s.append(time.perf_counter() - started_s)
    writer.close()
    return StreamTimes(arrivals_s)


async def measure(host: str, port: int, model: str, num_streams: int, num_tokens: int) -> list[str]:
    """One row of the table."""
    started_s = time.perf_counter()
    times = await asyncio.gather(*(stream(host, port, model, index, num_tokens) for index in range(num_streams)))
    elapsed_s = time.perf_counter() - started_s
    first_ms = sorted(1000 * entry.first_s for entry in times)
    gaps_ms = sorted(1000 * gap for entry in times for gap in entry.gaps_s)
    return [
        str(num_streams),
        f"{num_streams * num_tokens / elapsed_s:.1f}",
        f"{statistics.median(first_ms):.0f} / {first_ms[-1]:.0f}",
        f"{statistics.median(gaps_ms):.1f} / {gaps_ms[int(0.99 * len(gaps_ms))]:.1f}",
    ]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--tokens", type=int, default=128)
    options = parser.parse_args()
    address = urlsplit(options.url)
    host, port = address.hostname or "127.0.0.1", address.port or 80
    await measure(host, port, options.model, 2, 16)  # warm-up
    rows = [await measure(host, port, options.model, number, options.tokens) for number in options.streams]
    print(f"{options.url}, {options.tokens} tokens per stream, {describe_machine()}")
    print(
        markdown_table(
            ["streams", "tokens/s", "first token ms, median / worst", "between tokens ms, median / p99"], rows
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
