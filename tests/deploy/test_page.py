"""docs/operations.md, followed literally: the bundle where there is a package index, all else in a network that has
loopback alone, and with process numbers of its own, so that whatever is left behind is seen."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "operations.md"
ALONE = ("unshare", "--map-root-user", "--net", "--pid", "--fork", "--mount-proc")
MARK = "=== block"
# As at a terminal: a job has a process group of its own, and Ctrl-C is a signal to all of it.
SERVED = """set -m
{ %s
} > served.log 2>&1 &
server=$!
set +m
until grep -q 'is ready' served.log; do kill -0 $server 2>/dev/null || { cat served.log; exit 1; }; sleep 1; done
"""
STOPPED = """kill -INT -- -$server
wait $server && status=0 || status=$?
sleep 1
echo "{mark} end"
echo "status: $status"
for each in /proc/[0-9]*; do
    [ "$each" = /proc/$$ ] || ! [ -r $each/cmdline ] || tr '\\0' ' ' < $each/cmdline | sed "s|^|left: $each |"
done
awk '/^Ip:/ && !n {{n = split($0, names)}} /^Ip:/ {{split($0, values)}}
    END {{for (i in names) if (names[i] == "OutNoRoutes") print "sent nowhere: " values[i]}}' /proc/net/snmp
"""


@dataclass(frozen=True, slots=True)
class Followed:
    """What each block has printed, and what was there at the end."""

    outputs: tuple[str, ...]
    end: str
    prefix: Path
    bundle: Path


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def is_served(block: str) -> bool:
    return block.startswith("llama4coder serve")


def test_blocks_are_those_of_one_machine() -> None:
    """And in the order that the script below relies on."""
    found = blocks()
    assert [is_served(block) for block in found] == [False] * 4 + [True] + [False] * 2
    assert "make bundle" in found[1]
    for block in found:
        subprocess.run(["sh", "-n"], input=block, text=True, check=True)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    if shutil.which("unshare") is None or subprocess.run([*ALONE, "true"], capture_output=True).returncode != 0:
        pytest.skip("this user may make no network namespaces here")
    folder = tmp_path_factory.mktemp("page")
    places = {"BUNDLE": str(folder / "bundle"), "PREFIX": str(folder / "p"), "SETTINGS": str(folder / "etc")}
    where, bundle, *others = blocks()
    run(["bash", "-euo", "pipefail", "-c", where + bundle], REPOSITORY, os.environ | places)
    home = folder / "home"
    home.mkdir()
    alone = {"PATH": os.environ["PATH"], "HOME": str(home), "PIP_CONFIG_FILE": os.devnull, **places}
    output = run([*ALONE, "bash", "-euo", "pipefail", "-c", script(where, others)], home, alone)
    *outputs, end = re.split(rf"^{MARK}.*\n", output, flags=re.MULTILINE)[1:]
    return Followed(tuple(outputs), end, folder / "p", folder / "bundle")


def script(where: str, others: list[str]) -> str:
    parts = ["ip link set lo up", where]
    parts += [f"printf '\\n{MARK}\\n'\n" + (SERVED % block if is_served(block) else block) for block in others]
    return "\n".join([*parts, STOPPED.format(mark=MARK)])


def run(command: list[str], folder: Path, env: Mapping[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=1700, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.model
@pytest.mark.timeout(3600)
class TestFollowed:
    def test_it_is_installed(self, followed: Followed) -> None:
        assert "==> Ready" in followed.outputs[0]
        share = followed.prefix / "share" / "llama4coder"
        for name in ("deploy", "docs", "sbom.cdx.json", "LICENCES.md"):
            assert (share / name).exists()
        bill = json.loads((share / "sbom.cdx.json").read_text())
        assert len(bill["components"]) > 100

    def test_keys_are_secret(self, followed: Followed) -> None:
        settings = followed.prefix.with_name("etc")
        assert settings.stat().st_mode & 0o777 == 0o700
        for name in ("keys.json", "alice.key", "key.pem"):
            assert (settings / name).stat().st_mode & 0o777 == 0o600

    def test_the_first_answer(self, followed: Followed) -> None:
        ready, _, answer = followed.outputs[3].partition("}")
        assert "ready" in ready
        assert json.loads(answer)["choices"][0]["message"]["content"]

    def test_metrics_and_dashboards(self, followed: Followed) -> None:
        assert 'llama4coder_requests_total{api="chat_completions",code="200"' in followed.outputs[4]
        dashboards = followed.prefix / "share" / "llama4coder" / "dashboards"
        assert dashboards.exists() == (REPOSITORY / "dashboards").exists()
        for path in dashboards.rglob("*.json"):
            json.loads(path.read_text())
        if shutil.which("promtool"):
            for path in dashboards.rglob("*rules*.y*ml"):
                run(["promtool", "check", "rules", str(path)], dashboards, os.environ)

    def test_nothing_is_left_and_nothing_left(self, followed: Followed) -> None:
        assert "status: 0" in followed.end
        assert "left:" not in followed.end
        assert "sent nowhere: 0" in followed.end
