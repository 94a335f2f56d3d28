"""What serving adds to an engine, out of loads whose times are simulated; and the client that measures real ones."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from llama4coder.calibration.endpoint import Endpoint, drive
from llama4coder.calibration.load import Load, Run, TimedRequest, arrivals_of, plan_requests, times_of
from llama4coder.calibration.surroundings import explain, predict
from llama4coder.errors import ConfigError
from llama4coder.planner.calibrated import CalibratedTimes, MeasuredSteps, Surroundings
from llama4coder.progress import NullProgress
from llama4coder.simulator.fleet import FleetPlan
from llama4coder.simulator.scaling import FixedScale
from llama4coder.simulator.simulation import Scenario, Simulation
from tests.support.simulated import FixedTimes, replica

STEPS = MeasuredSteps((1, 8, 64, 512), (0.02, 0.03, 0.08, 0.5), 0.001, 1e-6, 4e-7, 1e-8)
SERVED = replica(FixedTimes())
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def served_by(around: Surroundings, load: Load) -> Run:
    """The times that clients of such an endpoint would see."""
    requests = [TimedRequest(one, one.at_s, one.at_s, one.at_s) for one in plan_requests(load, 32000)]
    served = replace(SERVED, times=CalibratedTimes(STEPS, around), front_s=around.front_s)
    simulation = Simulation(Scenario(served, FleetPlan(FixedScale(1))), arrivals_of(requests))
    assert simulation.run()
    ended = sorted(simulation.measures.requests, key=lambda one: one.arrival_s)
    return [
        replace(one, first_s=one.sent_s + (end.first_s or 0.0), last_s=one.sent_s + end.total_s)
        for one, end in zip(requests, ended, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_two_loads_tell_what_serving_adds() -> None:
    true = Surroundings(scale=1.15, row_s=0.003, front_s=0.04)
    loads = [
        [served_by(true, Load(rate, 4.0, prompt, output, seed=seed)) for seed in range(2)]
        for rate, prompt, output in ((1.5, 100, 20), (3.0, 25, 40))
    ]
    found = explain(SERVED, STEPS, loads, NullProgress())
    assert found.around.scale > 1 and found.around.front_s == pytest.approx(0.04, rel=0.3)
    for runs, predicted in zip(loads, found.predicted, strict=True):
        assert predicted.ttft_s == pytest.approx(times_of(runs).ttft_s, rel=0.03)
        assert predicted.itl_s == pytest.approx(times_of(runs).itl_s, rel=0.03)
    unseen = served_by(true, Load(2.0, 8.0, 200, 30, seed=7))
    times = CalibratedTimes(STEPS, found.around)
    predicted = times_of([predict(replace(SERVED, times=times, front_s=found.around.front_s), unseen)])
    assert predicted.ttft_s == pytest.approx(times_of([unseen]).ttft_s, rel=0.1)
    assert predicted.itl_s == pytest.approx(times_of([unseen]).itl_s, rel=0.1)


def test_one_load_does_not_tell() -> None:
    with pytest.raises(ConfigError, match="1 loads cannot tell slow steps from a slow way: measure 2 or more"):
        explain(SERVED, STEPS, [[served_by(Surroundings(), Load(1.0, 3.0, 100, 10))]], NullProgress())


def test_requests_that_the_replica_cannot_hold() -> None:
    load = [TimedRequest(one, one.at_s, one.at_s, one.at_s) for one in plan_requests(Load(1.0, 5.0, 9000, 2), 32000)]
    with pytest.raises(ConfigError, match="a simulated request is too long"):
        predict(SERVED, load)


def test_a_load_shares_prefixes_as_it_was_asked() -> None:
    requests = plan_requests(Load(20.0, 20.0, 200, 10, 0.5, num_prefixes=2, seed=3), 32000)
    assert len(requests) == pytest.approx(400, rel=0.2)
    assert sum(len(one.prompt_token_ids) for one in requests) / len(requests) == pytest.approx(200, rel=0.1)
    for one in requests:
        assert one.num_prefix == round(0.5 * len(one.prompt_token_ids))
    first, second = [one.prompt_token_ids for one in requests if one.prefix == 0][:2]
    shared = min(len(first), len(second)) // 2
    assert first[:shared] == second[:shared] and first[-10:] != second[-10:]
    with pytest.raises(ConfigError, match="no request comes in that time"):
        plan_requests(Load(1e-6, 1.0, 10, 10), 100)


def measured(answer: Answer, load: Load) -> list[TimedRequest]:
    """What the client sees of an endpoint that answers like this."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-l"))
        assert json.loads(await reader.readexactly(length))["ignore_eos"] is True
        await answer(writer)
        await writer.drain()
        writer.close()

    async def main() -> list[TimedRequest]:
        async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            endpoint = Endpoint(f"http://127.0.0.1:{port}/v1", "model")
            return await drive(endpoint, plan_requests(load, 1000), NullProgress())

    return asyncio.run(main())


async def stream(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\r\n")
    await asyncio.sleep(0.1)
    writer.write(b"data: {}\n\n")
    await writer.drain()
    await asyncio.sleep(0.2)
    writer.write(b"data: {}\n\n")
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.write(b"data: [DONE]\n\n")


async def refuse(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n")


async def break_off(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: {}\n\n")


def test_the_client_sees_first_and_last_token() -> None:
    timed = measured(stream, Load(10.0, 0.5, 10, 2))
    assert timed
    for one in timed:
        assert one.sent_s >= one.request.at_s
        assert 0.1 <= one.first_s - one.sent_s
        assert 0.15 <= one.last_s - one.first_s


@pytest.mark.parametrize(
    ("answer", "problem"), [(refuse, "refused a request with HTTP 429"), (break_off, "broke a request off")]
)
def test_endpoints_that_do_not_serve(answer: Answer, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        measured(answer, Load(10.0, 0.3, 10, 2))


def test_an_endpoint_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="is it running"):
        asyncio.run(
            drive(Endpoint("http://127.0.0.1:1/v1", "model"), plan_requests(Load(10, 0.3, 9, 2), 99), NullProgress())
        )
