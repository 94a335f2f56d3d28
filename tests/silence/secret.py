"""A secret that clients send, every way in which it could be written down, and where it has been."""

import base64
import os
import re
import secrets
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.processes import Process
from llama4coder.tokenizer.tokenizer import Tokenizer

_OVERLAP_BYTES = 4096  # longer than any form
_READ_BYTES = 2**22
_EDGE_TOKENS = 2  # may have merged with what stands around the secret


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write the secret."""

    name: str
    pattern: re.Pattern[bytes]


@dataclass(frozen=True, slots=True)
class Trace:
    """Where the secret was found, and how it was written."""

    path: str
    form: str
    context: str


class Secret:
    """A random text; letters and digits alone, which JSON and URLs leave as they are."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.text = f"Canary{secrets.token_hex(16)}"
        inner = tokenizer.encode(self.text, add_bos=False)[_EDGE_TOKENS:-_EDGE_TOKENS]
        self.forms = (*_text_forms(self.text), *_token_forms(inner))

    def traces_in(self, data: bytes, path: str) -> Iterator[Trace]:
        """Every form that `data` has, once."""
        for form in self.forms:
            found = form.pattern.search(data)
            if found is not None:
                context = data[max(0, found.start() - 200) : found.end() + 100]
                yield Trace(path, form.name, context.decode(errors="replace"))


def _text_forms(text: str) -> Iterator[Form]:
    raw = text.encode()
    yield Form("text", re.compile(raw, re.IGNORECASE))
    yield Form("UTF-16", re.compile(text.encode("utf-16-le")))
    yield Form("UTF-32", re.compile(text.encode("utf-32-le")))
    yield Form("hex", re.compile(raw.hex().encode(), re.IGNORECASE))
    yield Form("JSON escapes", re.compile("".join(f"\\\\u{ord(char):04x}" for char in text).encode(), re.IGNORECASE))
    yield Form("URL escapes", re.compile("".join(f"%{byte:02x}" for byte in raw).encode(), re.IGNORECASE))
    yield Form("bytes repr", re.compile("".join(f"\\\\x{byte:02x}" for byte in raw).encode(), re.IGNORECASE))
    for shift in range(3):  # what stands before it moves it by so many bytes
        encoded = base64.b64encode(b"\0" * shift + raw)[4 if shift else 0 : -4]
        yield Form(f"base64+{shift}", re.compile(re.escape(encoded)))
        urlsafe = encoded.replace(b"+", b"-").replace(b"/", b"_")
        yield Form(f"base64url+{shift}", re.compile(re.escape(urlsafe)))


def _token_forms(token_ids: Sequence[int]) -> Iterator[Form]:
    yield Form("token ids", re.compile(rb"\D{1,4}".join(str(token_id).encode() for token_id in token_ids)))
    for code, name in (("<i", "int32"), ("<q", "int64"), ("<H", "uint16"), (">H", "uint16, big-endian")):
        packed = b"".join(struct.pack(code, token_id) for token_id in token_ids)
        yield Form(f"token ids as {name}", re.compile(re.escape(packed)))
    yield Form("token ids as msgpack", re.compile(b"".join(re.escape(_msgpack(each)) for each in token_ids)))
    yield Form("token ids as pickle", re.compile(b"".join(re.escape(_pickled(each)) for each in token_ids)))


def _msgpack(number: int) -> bytes:
    if number < 128:
        return bytes([number])
    return b"\xcc" + bytes([number]) if number < 256 else b"\xcd" + number.to_bytes(2, "big")


def _pickled(number: int) -> bytes:
    return b"K" + bytes([number]) if number < 256 else b"M" + number.to_bytes(2, "little")


def traces(secret: Secret, folders: Iterable[Path], since_s: float) -> list[Trace]:
    """What files below `folders` that have been written to since then hold of it, in their names or contents."""
    found: list[Trace] = []
    for folder in folders:
        for parent, names, files in os.walk(folder):
            for name in (*names, *files):
                found += secret.traces_in(name.encode(errors="replace"), f"name of {parent}/{name}")
            for name in files:
                found += _traces_in_file(secret, Path(parent) / name, since_s)
    return found


def traces_in_deleted(secret: Secret, processes: Iterable[Process]) -> list[Trace]:
    """The same for files on disks that have no name any more and that a process still has open."""
    found: list[Trace] = []
    for process in processes:
        for descriptor in _descriptors(process.pid):
            try:
                target = os.readlink(descriptor)
            except OSError:
                continue
            if target.endswith(" (deleted)") and not target.startswith(("/dev/", "/memfd:")):
                found += _traces_in_file(secret, descriptor, 0.0)
    return found


def _descriptors(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # the process has ended
        return []


def _traces_in_file(secret: Secret, path: Path, since_s: float) -> Iterator[Trace]:
    try:
        if not path.is_file() or path.stat().st_mtime < since_s:
            return
        with path.open("rb") as file:
            kept = b""
            while block := file.read(_READ_BYTES):
                yield from secret.traces_in(kept + block, str(path))
                kept = block[-_OVERLAP_BYTES:]
    except OSError:  # it has gone
        return
