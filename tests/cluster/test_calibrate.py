"""`llama4coder calibrate` with several ranks on real Rays, and what becomes of its table."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.processes import descendants
from llama4coder.machine import device_name
from llama4coder.planner.calibration import read_calibration
from tests.support.live_server import live_server
from tests.support.models import write_tiny_llama
from tests.support.ray_nodes import HEAD, RayNodes, ray_nodes
from tests.support.watching import running, until

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

SIZES = ("--max-sequences", "4", "--max-step-tokens", "32", "--context", "128")
_REPOSITORY = Path(__file__).parents[2]
_TIMEOUT_S = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    write_tiny_llama(folder, tokenizer=True)
    return folder


@pytest.fixture(scope="module")
def table(folder: Path) -> Path:
    """Of two ranks, made once for all tests."""
    path = folder.parent / "table.yaml"
    done = run("calibrate", folder, "--out", path, "--ranks", 2, "--threads", 1, *SIZES)
    assert done.returncode == 0, done.stderr
    assert "timing steps" in done.stderr and "decode" in done.stdout
    assert "2 x " in done.stdout and "1 threads each" in done.stdout
    return path


@pytest.fixture(scope="module", autouse=True)
def temporary() -> Iterator[Path]:
    """The folder for temporary files of all commands and Rays here; its path is as short as Ray needs."""
    with tempfile.TemporaryDirectory(prefix="c-", dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        yield Path(folder)


@pytest.fixture(scope="module")
def nodes(temporary: Path) -> Iterator[RayNodes]:
    with ray_nodes(head_cpus=2, environment={"TMPDIR": str(temporary)}) as nodes:
        yield nodes


def start(*arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "cluster", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "160", "RAY_AUTH_MODE": "disabled"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=_REPOSITORY, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True
    )


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """What a command printed, and that no folder of its Ray is left."""
    before = folders()
    with start(*arguments) as process:
        out, err = process.communicate(timeout=_TIMEOUT_S)
    assert folders() == before
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def folders() -> list[Path]:
    """Of private Rays, and of ranks' channels."""
    temporary = Path(os.environ["TMPDIR"])
    return [*temporary.glob("l4c-*"), *temporary.glob("ranks-*")]


def write_trace(folder: Path) -> Path:
    """A single request, for `simulate`."""
    trace = folder / "trace.jsonl"
    trace.write_text('{"arrival_s": 0, "prompt_tokens": 40, "output_tokens": 11}\n')
    return trace


def refused(*arguments: object) -> str:
    """The one line that a command ends with."""
    done = run("calibrate", *arguments)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_a_table_says_whose_it_is(table: Path) -> None:
    found = read_calibration(table)
    assert (found.subject.heads_shards, found.subject.kv_shards) == (2, 1)
    assert found.told_machine == f"2 x {device_name('cpu')}"
    assert (found.source.device, found.source.num_threads, found.source.num_nodes) == ("cpu", 1, 1)
    assert {each.kind for each in found.source.residuals} == {"decode", "prefill", "mixed"}


def test_plan_and_simulate_take_it_for_the_same_layout_alone(folder: Path, table: Path, tmp_path: Path) -> None:
    trace = write_trace(tmp_path)
    options = (folder, "--calibration", table, "--ranks", 2, "--context", 128)
    simulated = json.loads(run("simulate", *options, "--workload", trace, "--json").stdout)
    steps = read_calibration(table).steps
    assert simulated["itl"]["p50_s"] == pytest.approx(steps.seconds[0] + steps.sampled_s, rel=0.5)
    lengths = ("--prompt-tokens", 40, "--output-tokens", 11)
    planned = json.loads(run("plan", *options, *lengths, "--rate", 0.01, "--json").stdout)
    assert f"on 2 x {device_name('cpu')}" in planned["subject"]["calibration"]
    for command in (("plan", folder, *lengths), ("simulate", folder, "--workload", trace)):
        wrong = run(*command, "--calibration", table, "--ranks", 1, "--context", 128)
        assert "was made for heads_shards 2 instead of 1" in wrong.stderr


def test_what_an_endpoint_of_two_ranks_adds(folder: Path, table: Path, tmp_path: Path) -> None:
    engine = {"ranks": 2, "num_threads": 1, "max_sequences": 4, "max_step_tokens": 32}
    with live_server({"model": {"path": str(folder), "context_length": 128}, "engine": engine}) as server:
        options = ("--table", table, "--url", f"{server.url}/v1", "--ranks", 2, *SIZES)
        loads = ("--rate", 2, "--rate", 2, "--seconds", 6, "--runs", 2, "--prompt-tokens", 32, "--output-tokens", 8)
        done = run("calibrate", folder, "--out", tmp_path / "served.yaml", *options, *loads)
    assert done.returncode == 0, done.stderr
    found = read_calibration(tmp_path / "served.yaml")
    assert found.serving is not None and len(found.serving.loads) == 2
    assert "measured steps of a running endpoint (2 loads) on 2 x" in found.told_source


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM], ids=str)
@pytest.mark.parametrize("moment", ["starting Ray", "timing steps"])
def test_a_signal_leaves_nothing(folder: Path, tmp_path: Path, signal_number: int, moment: str) -> None:
    out = tmp_path / "table.yaml"
    with start("calibrate", folder, "--out", out, "--ranks", 2, "--max-sequences", 64) as process:
        assert process.stderr is not None
        told = next(line for line in process.stderr if moment in line)
        assert told
        until(lambda: len(descendants({process.pid})) > 2, 30)
        started = descendants({process.pid})
        process.send_signal(signal_number)
        process.communicate(timeout=30)
    assert process.returncode == 128 + signal_number
    assert running(started) == set() and folders() == []
    assert not out.exists()


def test_a_layout_that_there_is_none_of(folder: Path, tmp_path: Path) -> None:
    line = refused(folder, "--out", tmp_path / "table.yaml", "--ranks", 3, "--kv-shards", 1)
    assert "3 ranks cannot be laid out with 1 KV shards" in line


def test_no_such_model(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "none", "--out", tmp_path / "table.yaml", "--ranks", 2)


def test_what_a_rank_finds_wrong_is_told(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in folder.iterdir():
        (broken / file.name).write_bytes(file.read_bytes()[: -1000 if file.suffix == ".safetensors" else None])
    line = refused(broken, "--out", tmp_path / "table.yaml", "--ranks", 2)
    assert "model.safetensors" in line


def test_on_a_running_ray(nodes: RayNodes, folder: Path, tmp_path: Path) -> None:
    before = nodes.pids()
    options = ("--ranks", 2, "--kv-shards", 2, "--threads", 1, "--address", nodes.gcs)
    done = run("calibrate", folder, "--out", tmp_path / "table.yaml", *options, *SIZES)
    assert done.returncode == 0, done.stderr
    found = read_calibration(tmp_path / "table.yaml")
    assert (found.subject.heads_shards, found.subject.kv_shards, found.source.num_nodes) == (1, 2, 1)
    assert found.told_machine == f"2 x {device_name('cpu')}"
    check_free(nodes)
    assert before <= nodes.pids(), "it has ended what is not its own"
    options = ("--calibration", tmp_path / "table.yaml", "--context", 128, "--ranks", 2, "--kv-shards", 2)
    assert run("simulate", folder, *options, "--workload", write_trace(tmp_path)).returncode == 0


def test_ctrl_c_on_a_running_ray(nodes: RayNodes, folder: Path, tmp_path: Path) -> None:
    options = ("--ranks", 2, "--threads", 1, "--address", nodes.gcs, "--max-sequences", 64)
    with start("calibrate", folder, "--out", tmp_path / "table.yaml", *options) as process:
        assert process.stderr is not None
        assert next(line for line in process.stderr if "timing steps" in line)
        assert folders(), "of the ranks' channels"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT
    check_free(nodes)
    until(lambda: folders() == [], 10)


def check_free(nodes: RayNodes) -> None:
    """All of what there is can be had again, and no actor is left."""
    program = (
        "import sys, ray; from cluster.nodes import await_nodes, free_nodes; "
        "ray.init(address=sys.argv[1], log_to_driver=False); "
        "await_nodes(lambda nodes: None if nodes[0].free.get('CPU') == 2 else str(nodes), 15, free_nodes)"
    )
    nodes.run(sys.executable, "-c", program, nodes.gcs)
    names = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in nodes.pids()]
    assert not any(re.search(rb"ray::(RankActor|Calibrator)", name) for name in names)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--ranks", 4), r"no room for target replica 1 of 1: it needs 2.2 CPU on one node; \S+ lacks 0.2 CPU"),
        (("--ranks", 2, "--ranks-per-node", 1, "--ranks-per-node", 1), r"0.7 CPU and 0.5 CPU on a node each"),
        (("--ranks", 2, "--ranks-per-node", 3), r"placement.ranks_per_node \[3\] adds up to 3 ranks"),
        (("--ranks", 2, "--quant", "int4", "--kv-format", "int4", "--max-sequences", 600), "max_sequences"),
    ],
)
def test_what_a_running_ray_cannot_do(
    nodes: RayNodes, folder: Path, tmp_path: Path, options: tuple[object, ...], problem: str
) -> None:
    line = refused(folder, "--out", tmp_path / "table.yaml", "--address", nodes.gcs, *options)
    assert re.search(problem, line), line


def test_no_ray_there(folder: Path, tmp_path: Path) -> None:
    line = refused(folder, "--out", tmp_path / "table.yaml", "--ranks", 2, "--address", f"{HEAD}:1")
    assert f"no Ray can be joined at {HEAD}:1" in line and "--address" in line


def test_ranks_on_two_nodes(nodes: RayNodes, folder: Path, tmp_path: Path) -> None:
    """The last test with this Ray."""
    nodes.start_node("127.0.0.3", 1)
    options = ("--ranks", 2, "--ranks-per-node", 1, "--ranks-per-node", 1, "--threads", 1, "--address", nodes.gcs)
    done = run("calibrate", folder, "--out", tmp_path / "table.yaml", *options, *SIZES)
    assert done.returncode == 0, done.stderr
    found = read_calibration(tmp_path / "table.yaml")
    assert found.told_machine == f"2 x {device_name('cpu')} on 2 nodes"
