"""What deploys on machines without Kubernetes: environment, systemd units, `ray up`; and the container file."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from typer.main import get_command

from cluster.cli import app
from llama4coder import __version__
from llama4coder.env import CACHE_VARIABLE, offline_environment
from tests.support.manifests import DEPLOY

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SERVICES = sorted((DEPLOY / "serve").glob("*.yaml"))
CONFINED = {"NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "CapabilityBoundingSet": ""}
QUIET = {"LimitCORE": "0", "MemorySwapMax": "0", "IPAddressDeny": "any", "UMask": "0077", "User": "llama4coder"}


def variables(path: Path) -> dict[str, str]:
    """A file of `KEY=value` lines."""
    lines = path.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def settings(unit: Path) -> dict[str, str]:
    """Settings of a unit, the last of each name, continued lines joined."""
    text = unit.read_text().replace("\\\n", " ")
    return dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z]\w+=", line))


def confined_environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What `llama4coder serve` sets for its private Ray."""
    from cluster import env

    told: dict[str, str] = {}
    monkeypatch.setattr(env.os, "environ", told)
    env.confine_ray(Path("/x"))
    env.put_haproxy_in_front(Path("/x"), Path("/x/haproxy"), 1, 60.0)
    return told


def test_the_environment_is_what_a_private_ray_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that both set has the same value, and no telemetry is left out."""
    here, private = variables(DEPLOY / "ray" / "ray.env"), confined_environment(monkeypatch)
    shared = here.keys() & private.keys()
    assert len(shared) >= 8
    assert {name: here[name] for name in shared} == {name: private[name] for name in shared}
    monkeypatch.undo()
    ours = offline_environment()
    assert {name: here[name] for name in ours if name != "VLLM_NO_USAGE_STATS"} == {
        name: value for name, value in ours.items() if name != "VLLM_NO_USAGE_STATS"
    }


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_are_confined(unit: Path) -> None:
    found = settings(unit)
    assert found.items() >= (CONFINED | QUIET).items()
    assert "EnvironmentFile=/etc/llama4coder/ray.env" in unit.read_text()
    assert not re.search(r"(token|password)=[0-9a-z]{8}", unit.read_text())


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_reads_them(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    for each in UNITS:  # beside each other, as they name each other; with a program that is there
        (tmp_path / each.name).write_text(each.read_text().replace("/opt/llama4coder/bin/", "/bin/"))
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = [line for line in done.stderr.splitlines() if "llama4coder" in line]
    assert done.returncode == 0 and told == [], done.stderr


def test_a_unit_that_is_wrong_is_seen(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    unit = tmp_path / "llama4coder-wrong.service"
    unit.write_text(UNITS[0].read_text().replace("LimitCORE=0", "LimitCROE=0"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
    assert "LimitCROE" in done.stderr


@pytest.mark.parametrize("unit", [unit for unit in UNITS if "ray" in unit.name], ids=lambda unit: unit.name)
def test_units_use_options_that_ray_has(unit: Path) -> None:
    from ray.scripts.scripts import start

    known = {option for parameter in start.params for option in parameter.opts}
    assert set(re.findall(r"(--[a-z-]+)", settings(unit)["ExecStart"])) <= known
    wanted = set(re.findall(r"\$([A-Z_]+)", settings(unit)["ExecStart"])) - {"CREDENTIALS_DIRECTORY"}
    assert wanted <= variables(DEPLOY / "systemd" / "node.env").keys()


def test_a_worker_drains_before_it_stops() -> None:
    worker = next(unit for unit in UNITS if "worker" in unit.name)
    command = settings(worker)["ExecStop"]
    seconds = re.search(r"/llama4coder drain --timeout-s (\d+) ", command)
    assert seconds is not None
    assert int(seconds[1]) < int(settings(worker)["TimeoutStopSec"])
    known = {option for parameter in get_command(app).commands["drain"].params for option in parameter.opts}  # type: ignore[attr-defined]
    assert set(re.findall(r"(--[a-z-]+)", command)) <= known


def test_ray_up_accepts_its_file() -> None:
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "ray" / "cluster.yaml").read_text())
    validate_config(prepare_config(content))
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert "/etc/llama4coder/ray.env" in content[key][1]
        assert "ulimit -c 0" in content[key][1]


def test_the_page_names_files_that_there_are() -> None:
    page = (DEPLOY.parent / "docs" / "operations.md").read_text()
    for name in re.findall(r"(?<!tests/)\bdeploy/[\w./-]+\w", page):
        assert (DEPLOY.parent / name).exists(), name
    for name in re.findall(r"tests/[\w./]+\.py", page):
        assert (DEPLOY.parent / name).exists(), name


def instructions() -> list[tuple[str, str]]:
    text = (DEPLOY / "Containerfile").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = [line.split(None, 1) for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]
    return [(word, rest) for word, rest in found]


def test_the_image_holds_the_bundle_and_nothing_else() -> None:
    found = instructions()
    words = {word for word, _ in found}
    assert words <= {"ARG", "FROM", "COPY", "RUN", "LABEL", "ENV", "USER", "WORKDIR", "EXPOSE", "CMD"}
    assert not [rest for word, rest in found if word == "RUN" and re.search(r"pip|curl|wget|apt|http", rest)]
    assert [rest for word, rest in found if word == "COPY"] == [
        ". /bundle",
        "--from=install /opt/llama4coder /opt/llama4coder",
    ]
    assert not re.search(
        r"(?i)(key|token|secret|password)\w*\s*=", " ".join(rest for word, rest in found if word in ("ARG", "ENV"))
    )
    assert all("${BASE}" in rest for word, rest in found if word == "FROM")


def test_the_image_is_no_root_and_of_this_version() -> None:
    found = instructions()
    last = max(index for index, (word, _) in enumerate(found) if word == "FROM")
    users = [rest for word, rest in found[last:] if word == "USER"]
    assert users == ["1000:1000"]
    assert ("ARG", f"VERSION={__version__}") in found
    environment = next(rest for word, rest in found[last:] if word == "ENV")
    assert "/opt/llama4coder/bin" in environment and CACHE_VARIABLE in environment
    assert ray.__version__ in (DEPLOY.parent / "constraints.txt").read_text()


def test_every_serve_file_reaches_the_overlays_or_is_for_one_machine() -> None:
    kustomization = yaml.safe_load((DEPLOY / "serve" / "kustomization.yaml").read_text())
    listed = set(kustomization["configMapGenerator"][0]["files"])
    assert listed <= {path.name for path in SERVICES}
