"""The keys commands: a key is shown once, and what is wrong is said in a line."""

import json
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from llama4coder.cli import keys
from llama4coder.keys.key_file import read_keys
from llama4coder.keys.ring import KeyRing
from llama4coder.keys.scope import DIALECTS, Scope


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def run(file: Path, *arguments: str) -> Result:
    app = typer.Typer()
    keys.register(app)
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["keys", *arguments, "--file", str(file)])


def test_a_key_is_shown_once_and_only_its_hash_is_kept(file: Path) -> None:
    added = run(file, "add", "alice")
    assert added.exit_code == 0
    secret = added.stdout.strip()
    assert secret.startswith("l4c-") and secret not in file.read_text()
    found = KeyRing(read_keys(file)).find(secret.encode())
    assert found is not None and (found.name, found.scopes, found.expires) == ("alice", DIALECTS, None)
    for options in ((), ("--json",)):
        listed = run(file, "list", *options).stdout
        assert "alice" in listed and secret not in listed and found.sha256 not in listed


def test_what_a_key_is_for(file: Path) -> None:
    options = ["--scope", "metrics", "--scope", "openai", "--model", "a", "--model", "b", "--expires", "90d"]
    limits = ["--limit", "requests_per_min=60", "--limit", "max_context=4096"]
    assert run(file, "add", "bob", *options, *limits).exit_code == 0
    (record,) = read_keys(file)
    assert (record.scopes, record.models) == ((Scope.METRICS, Scope.OPENAI), ("a", "b"))
    assert record.expires is not None and (record.expires - record.created).days == 90
    assert (record.limits.requests_per_min, record.limits.max_context) == (60, 4096)
    shown = json.loads(run(file, "list", "--json").stdout)
    assert shown["limits"] == {"requests_per_min": 60, "max_context": 4096}
    assert "requests_per_min 60" in run(file, "list").stdout


def test_revoking(file: Path) -> None:
    secret = run(file, "add", "alice").stdout.strip()
    run(file, "add", "bob")
    assert run(file, "revoke", "alice").exit_code == 0
    first, second = read_keys(file)
    assert first.revoked is not None and second.revoked is None
    assert run(file, "revoke", "alice").exit_code == 0
    assert read_keys(file)[0].revoked == first.revoked, "the first time counts"
    assert "revoked" in run(file, "list").stdout
    assert secret not in file.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["add", "alice"], "already"),
        (["add", "a b"], "a name is"),
        (["add", "x" * 65], "a name is"),
        (["add", "bob", "--expires", "soon"], "--expires is"),
        (["add", "bob", "--expires", "0d"], "--expires is"),
        (["add", "bob", "--expires", "99999w"], "--expires is"),
        (["add", "bob", "--expires", "2020-01-31"], "in the past"),
        (["add", "bob", "--limit", "requests_per_min"], "whole number"),
        (["add", "bob", "--limit", "requests_per_min=0"], "whole number"),
        (["add", "bob", "--limit", "requests_per_min=1.5"], "whole number"),
        (["add", "bob", "--limit", "speed=1"], "once for each of requests_per_min"),
        (["add", "bob", "--limit", "max_context=1", "--limit", "max_context=2"], "once for each"),
        (["revoke", "bob"], "no key for bob"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(file: Path, arguments: list[str], words: str) -> None:
    run(file, "add", "alice")
    before = file.read_bytes()
    result = run(file, *arguments)
    assert result.exit_code == 1
    assert words in result.stderr and len(result.stderr.splitlines()) == 1
    assert file.read_bytes() == before and result.stdout == ""


def test_a_missing_file_or_folder(file: Path) -> None:
    assert "No such file" in run(file, "list").stderr
    assert run(file.parent / "none" / "keys.json", "add", "alice").exit_code == 1


def test_unknown_scopes_are_a_usage_error(file: Path) -> None:
    assert run(file, "add", "alice", "--scope", "everything").exit_code == 2
    assert not file.exists()
