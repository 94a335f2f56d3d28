"""Ranks in processes of their own find each other and compute together; with real sockets and real failures."""

import multiprocessing
import socket
import time
from pathlib import Path

import pytest

from cluster.channel.executor import ZmqExecutor
from llama4coder.engine.engine import Engine
from llama4coder.obs.stats import NullObserver
from llama4coder.parallel.group import MeetingPlace, interface_of, join
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.parallel.plan import RankPlan
from llama4coder.shape import read_shape
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions
from tests.support.adding_rank import CPU, meet_and_sum
from tests.support.engines import build_engine, greedy_request, resolved, run_all
from tests.support.models import write_tiny_llama
from tests.support.process_group import LOOPBACK, running_ranks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    write_tiny_llama(path, hidden_size=96, num_attention_heads=12, num_key_value_heads=6)
    return path


def requests() -> list[GenerateRequest]:
    seeded = GenerateRequest("seeded", (5, 6, 7), SamplingParams(top_p=0.9), StopConditions(12), seed=3)
    return [greedy_request("greedy", list(range(40)), 12), seeded]


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_processes_generate_what_one_does(folder: Path, num_ranks: int) -> None:
    expected = run_all(build_engine(resolved(folder, num_blocks=64)), requests())
    config = resolved(folder, num_blocks=64, ranks=num_ranks)
    with running_ranks(config) as ranks:
        executor = ZmqExecutor([rank.endpoint for rank in ranks], config.engine.heartbeat_timeout_s)
        results = run_all(Engine(config, executor, NullObserver()), requests())
        executor.close()
    assert {name: one.token_ids for name, one in results.items()} == {
        name: one.token_ids for name, one in expected.items()
    }


def test_kv_ranks_hold_the_same_heads_and_a_death_is_noticed_at_once(folder: Path) -> None:
    layout = ParallelLayout(2, 2)
    place = MeetingPlace(LOOPBACK, 30.0)
    spawn = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for rank in range(4):
        ours, theirs = spawn.Pipe()
        arguments = (theirs, place.meeting, read_shape(folder), layout, rank)
        processes.append(spawn.Process(target=meet_and_sum, args=arguments, daemon=True))
        processes[-1].start()
        pipes.append(ours)
    try:
        told = [pipe.recv() for pipe in pipes if pipe.poll(60)]
        assert told == [(0, 4, 0, [0.0, 1.0]), (1, 4, 1, [0.0, 1.0]), (2, 4, 0, [2.0, 3.0]), (3, 4, 1, [2.0, 3.0])]
        processes[2].kill()
        started_s = time.monotonic()
        assert all(pipes[rank].poll(10) and pipes[rank].recv() == "lost" for rank in (0, 1, 3))
        assert time.monotonic() - started_s < 5
    finally:
        for process in processes:
            process.kill()
            process.join()


def test_a_rank_that_stays_away_ends_the_waiting(folder: Path) -> None:
    place = MeetingPlace(LOOPBACK, 1.0)
    with pytest.raises(RuntimeError):
        join(place.meeting, RankPlan(read_shape(folder), ParallelLayout(2, 1), 1), LOOPBACK, CPU, 1.0)


def test_the_meeting_place_listens_on_its_address_only() -> None:
    place = MeetingPlace(LOOPBACK, 1.0)
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if line.split()[3] == "0A"]
    listening += [
        line.split()[1] for line in Path("/proc/net/tcp6").read_text().splitlines() if line.split()[3] == "0A"
    ]
    mine = [address for address in listening if address.endswith(f":{place.meeting.port:04X}")]
    assert mine == [f"0100007F:{place.meeting.port:04X}"]


def test_interfaces_are_found_by_address() -> None:
    loopback = interface_of("127.0.0.1")
    assert loopback in {name for _, name in socket.if_nameindex()}
    assert interface_of("127.0.0.2") == loopback, "another address of the same interface"
    assert interface_of("192.0.2.1") is None
    assert interface_of("::1") == loopback
