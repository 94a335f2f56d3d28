"""Reading a Serve config file, and every way in which it can be wrong."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.cli import default_file
from cluster.serve_file import read_serve_file
from llama4coder.errors import ConfigError


def write(folder: Path, content: Any) -> Path:
    file = folder / "serve.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return file


def application(**args: Any) -> dict[str, Any]:
    return {"applications": [{"name": "a", "import_path": "cluster.app:build_app", "args": args}]}


def test_default_file_is_valid_for_us_and_for_serve() -> None:
    from ray.serve.schema import ServeDeploySchema

    file = read_serve_file(default_file(), None, None)
    assert (file.host, file.port) == ("127.0.0.1", 8000)
    assert file.config.model.path == "embedded"
    assert ServeDeploySchema.model_validate(file.content).http_options.host == "127.0.0.1"


def test_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, application() | {"http_options": {"host": "10.0.0.1", "port": 9, "keep_alive_timeout_s": 5}})
    assert (read_serve_file(path, None, None).host, read_serve_file(path, None, None).port) == ("10.0.0.1", 9)
    file = read_serve_file(path, "0.0.0.0", 80)
    assert (file.host, file.port) == ("0.0.0.0", 80)
    assert file.content["http_options"] == {"host": "0.0.0.0", "port": 80, "keep_alive_timeout_s": 5}


def test_args_are_the_deployment_config(tmp_path: Path) -> None:
    file = read_serve_file(write(tmp_path, application(engine={"max_sequences": 3})), None, None)
    assert file.config.engine.max_sequences == 3


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("a: [", "is not YAML"),
        ("just text", "applications"),
        ({"applications": []}, "applications"),
        ({"applications": [{}, {}]}, "applications"),
        ({"applications": [{"import_path": "other:app"}]}, "cluster.app:build_app"),
        (application() | {"http_options": 5}, "http_options"),
        (application() | {"http_options": {"port": "eighty"}}, "port"),
        (application(engine={"max_sequences": 0}), "engine.max_sequences"),
        (application(no_such_part={}), "no_such_part"),
    ],
)
def test_wrong_file_is_one_line(tmp_path: Path, content: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as error:
        read_serve_file(write(tmp_path, content), None, None)
    assert "\n" not in str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_serve_file(tmp_path / "none.yaml", None, None)
