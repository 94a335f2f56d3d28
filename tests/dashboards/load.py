"""Clients of a deployment, for dashboards to have something to show."""

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx

_PREFIXES = tuple(f"def function_{number}(first, second):\n    return first + second\n" * 6 for number in range(4))
_REFUSED, _PATIENCE_S = 400, 1.0
_SHAPES = ("completions", "stream", "chat")


@dataclass(frozen=True, slots=True)
class Ask:
    """What clients want."""

    max_tokens: Sequence[int]
    pause_s: float = 0.0


class Clients:
    """So many threads that ask again and again, whatever they are told, until `stop`."""

    def __init__(self, url: str, model: str, key: str | None = None) -> None:
        self._client = httpx.Client(
            base_url=url,
            timeout=120,
            headers={"authorization": f"Bearer {key}"} if key else {},
            limits=httpx.Limits(max_connections=200),
        )
        self._model = model
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.statuses: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._threads)

    def start(self, number: int, ask: Ask) -> None:
        """Add so many."""
        for index in range(number):
            chance = random.Random(index)
            thread = threading.Thread(target=self._ask_on, args=(ask, chance), daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(130)
        self._client.close()

    def _ask_on(self, ask: Ask, chance: random.Random) -> None:
        while not self._stopping.is_set():
            try:
                status = self._one(ask, chance)
            except httpx.HTTPError:
                status = 0
                time.sleep(0.5)
            self.statuses[status] = self.statuses.get(status, 0) + 1
            self._stopping.wait(ask.pause_s if status < _REFUSED else _PATIENCE_S)

    def _one(self, ask: Ask, chance: random.Random) -> int:
        prompt = chance.choice(_PREFIXES) + f"def other_{chance.randrange(10_000)}("
        body: dict[str, object] = {
            "model": self._model,
            "max_tokens": chance.choice(ask.max_tokens),
            "ignore_eos": True,
        }
        shape = chance.choice(_SHAPES)
        if shape == "chat":
            messages = [{"role": "user", "content": prompt}]
            return self._client.post("/v1/chat/completions", json=body | {"messages": messages}).status_code
        if shape == "completions":
            return self._client.post("/v1/completions", json=body | {"prompt": prompt}).status_code
        return self._stream(body | {"prompt": prompt, "stream": True}, leaves=chance.random() < 0.1)

    def _stream(self, body: Mapping[str, object], *, leaves: bool) -> int:
        with self._client.stream("POST", "/v1/completions", json=body) as response:
            for number, _ in enumerate(response.iter_lines()):
                if leaves and number > 6:
                    break
            return response.status_code


def until(condition: Callable[[], bool], timeout_s: float, meanwhile: Callable[[], object] = lambda: None) -> bool:
    """Whether it came true in time; something may be done between the looks."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        meanwhile()
        time.sleep(0.5)
    return True
