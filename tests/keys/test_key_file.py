"""The key file: what is in it, who may read it, and how it is replaced and read again."""

import logging
import stat
import threading
from pathlib import Path

import pytest

from llama4coder.errors import ConfigError
from llama4coder.keys.key_file import change_keys, read_keys
from llama4coder.keys.key_store import KeyStore
from llama4coder.keys.record import Limits
from llama4coder.keys.scope import Scope
from tests.keys.made import LONG_AGO, made, write_keys

SECRET = "l4c-do-not-tell"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_what_is_written_is_read(file: Path) -> None:
    keys = (
        made("a", scopes=[Scope.OPENAI], models=["m"], expires=LONG_AGO, limits=Limits(tokens_per_min=5)),
        made("b", revoked=LONG_AGO),
    )
    assert read_keys(write_keys(file, *keys)) == keys


def test_the_file_is_its_owners_and_holds_no_secret(file: Path) -> None:
    write_keys(file, made(SECRET))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]
    assert file.read_text().count(SECRET) == 1, "as its name alone"


@pytest.mark.parametrize(("mode", "is_fine"), [(0o400, True), (0o440, True), (0o604, False), (0o620, False)])
def test_a_file_that_is_open_to_others_is_refused(file: Path, mode: int, is_fine: bool) -> None:
    write_keys(file, made("a")).chmod(mode)
    if is_fine:
        assert len(read_keys(file)) == 1
        return
    with pytest.raises(ConfigError, match=f"mode {mode:04o}.*chmod 600"):
        read_keys(file)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (SECRET, "not JSON"),
        (f'{{"{SECRET}": 1}}', "wrong at"),
        (f'{{"keys": [{{"name": "a", "sha256": "{SECRET}"}}]}}', r"wrong at \$.keys\[0\].sha256"),
        (f'{{"keys": ["{SECRET}"]}}', r"wrong at \$.keys\[0\]"),
        ('{"keys": [\xff]}', "not JSON"),
    ],
)
def test_a_broken_file_is_not_quoted(file: Path, content: str, words: str) -> None:
    file.write_text(content, encoding="latin-1")
    file.chmod(0o600)
    with pytest.raises(ConfigError, match=words) as refused:
        read_keys(file)
    assert SECRET not in str(refused.value)


def test_names_and_secrets_are_there_once(file: Path) -> None:
    first = made("a")
    with pytest.raises(ConfigError, match="a name twice"):
        read_keys(write_keys(file, first, made("a")))
    file.write_text(file.read_text().replace('"name": "a"', '"name": "b"', 1))
    with pytest.raises(ConfigError, match="a sha256 twice"):
        read_keys(file)


def test_a_missing_file(file: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_keys(file)


def test_a_change_that_fails_leaves_the_file(file: Path) -> None:
    write_keys(file, made("a"))

    def fail(_: object) -> list[object]:
        raise ValueError

    with pytest.raises(ValueError):
        change_keys(file, fail)  # type: ignore[arg-type]
    assert [key.name for key in read_keys(file)] == ["a"]


def test_changes_at_the_same_time_are_all_kept(file: Path) -> None:
    def add(name: str) -> None:
        change_keys(file, lambda keys: [*keys, made(name)])

    threads = [threading.Thread(target=add, args=(f"key{number}",)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_keys(file)) == 12


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def names_in(store: KeyStore) -> list[str]:
    return [record.name for record in store.ring().records]


def test_a_replaced_file_counts_within_a_second(file: Path) -> None:
    clock = Clock()
    store = KeyStore(write_keys(file, made("a")), clock)
    write_keys(file, made("b"))
    clock.now_s = 0.9
    assert names_in(store) == ["a"], "it does not look at every request"
    clock.now_s = 1.0
    assert names_in(store) == ["b"]


def test_a_broken_or_missing_file_keeps_the_last_good_keys(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    store = KeyStore(write_keys(file, made("a")), clock)
    file.write_text(SECRET)
    for _ in range(3):
        clock.now_s += 1
        assert names_in(store) == ["a"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR], "it is said once"
    file.unlink()
    clock.now_s += 1
    assert names_in(store) == ["a"]
    write_keys(file, made("b"))
    clock.now_s += 1
    assert names_in(store) == ["b"]
    assert SECRET not in caplog.text


def test_there_is_no_store_without_good_keys(file: Path) -> None:
    with pytest.raises(ConfigError):
        KeyStore(file)
