"""The search for the secret finds it, however it is written."""

import base64
import json
import os
import pickle
from pathlib import Path
from urllib.parse import quote

import msgspec
import numpy as np
import pytest

from cluster.processes import descendants
from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.silence.secret import Secret, traces, traces_in_deleted
from tests.support.tiny import write_tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_tokenizer(folder)
    return Tokenizer.from_folder(folder)


@pytest.fixture
def secret(tokenizer: Tokenizer) -> Secret:
    return Secret(tokenizer)


def forms_in(secret: Secret, data: bytes) -> set[str]:
    return {trace.form for trace in secret.traces_in(data, "data")}


def test_text_is_found(secret: Secret) -> None:
    sentence = f"It is {secret.text}, is it?"
    escaped = "".join(f"\\u{ord(char):04x}" for char in sentence)
    assert forms_in(secret, json.dumps([sentence]).encode()) == {"text"}
    assert forms_in(secret, repr(sentence.lower()).encode()) == {"text"}
    assert forms_in(secret, sentence.encode("utf-16")) == {"UTF-16"}
    assert forms_in(secret, sentence.encode("utf-32")) == {"UTF-32"}
    assert forms_in(secret, sentence.encode().hex().encode()) == {"hex"}
    assert forms_in(secret, escaped.encode()) == {"JSON escapes"}
    assert forms_in(secret, "".join(f"%{byte:02X}" for byte in sentence.encode()).encode()) == {"URL escapes"}
    assert forms_in(secret, quote(sentence).encode()) == {"text"}
    for num_before in range(6):
        assert forms_in(secret, base64.b64encode(b"x" * num_before + sentence.encode())), num_before
        assert forms_in(secret, base64.urlsafe_b64encode(b"x" * num_before + sentence.encode())), num_before


def test_token_ids_are_found(secret: Secret, tokenizer: Tokenizer) -> None:
    token_ids = tokenizer.encode(f"It is {secret.text}, is it?", add_bos=False)
    for written in (str(token_ids), json.dumps(token_ids, separators=(",", ":")), " ".join(map(str, token_ids))):
        assert forms_in(secret, written.encode()) == {"token ids"}
    for kind in ("int32", "int64", "uint16"):
        assert f"token ids as {kind}" in forms_in(secret, np.array(token_ids, kind).tobytes())
    assert "token ids as msgpack" in forms_in(secret, msgspec.msgpack.encode(token_ids))
    assert "token ids as pickle" in forms_in(secret, pickle.dumps(tuple(token_ids)))


def test_nothing_is_found_where_there_is_nothing(secret: Secret, tokenizer: Tokenizer) -> None:
    assert forms_in(secret, os.urandom(2**20)) == set()
    assert forms_in(secret, Secret(tokenizer).text.encode()) == set()


def test_files_are_found_by_content_and_name_and_without_a_name(secret: Secret, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    written = tmp_path / "deep" / "log"
    written.write_bytes(b"\0" * (2**22 - 9) + secret.text.encode())  # over the edge of a block
    (tmp_path / secret.text).touch()
    found = {trace.path for trace in traces(secret, [tmp_path], since_s=0)}
    assert found == {str(written), f"name of {tmp_path}/{secret.text}"}
    assert traces(secret, [tmp_path / "deep"], since_s=written.stat().st_mtime + 1) == []
    with written.open("rb"):
        written.unlink()
        own = {process for process in descendants({os.getppid()}) if process.pid == os.getpid()}
        assert [trace.form for trace in traces_in_deleted(secret, own)] == ["text"]
